# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who administers: by `Authorization: Bearer <ADMIN_TOKEN>`, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from context_chat_backend.config import AppSettings


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """What is sent as a token; None where nothing is, or something else than a token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def is_administrators(token: str, app: AppSettings) -> bool:
    """Whether it is the token of administrators; there is none where none is configured."""
    # A header holds bytes, each of which stands as a letter in its text.
    expected = "" if app.admin_token is None else app.admin_token.reveal()
    return hmac.compare_digest(token.encode("latin-1", "replace"), expected.encode("utf-8")) and expected != ""
