# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text in Nextcloud's JSON: JSON can escape halves of characters, which neither UTF-8 nor PostgreSQL can hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _whole_characters(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]
"""A string that can be stored and compared."""
