# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens of a text for models whose tokenizer is not at hand: rather too many than too few."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"  # scripts without spaces, and Korean: one each
    r"|[^\W\d_]{1,4}|\d{1,2}|[^\s\w]|_"
)


def token_starts(text: str) -> list[int]:
    """The offsets at which tokens may begin: four letters, two digits or one sign each."""
    return [token.start() for token in _TOKEN.finditer(text)]
