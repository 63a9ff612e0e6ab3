# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who calls: the headers AppAPI signs every request with (contract appapi 2.1). Ours, on Nextcloud's routes (ruling 20).

Whatever is wrong with them the answer is 401, and nothing of them is printed or logged.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from fastapi import Request

from context_chat_backend.config import AppSettings
from context_chat_backend.web.errors import Refusal


async def require_nextcloud(request: Request) -> None:
    """Let the request pass when it comes from the Nextcloud this app is registered with. Raises Refusal (401)."""
    app: AppSettings = request.app.state.backend.config.app
    if not app.disable_aaa and not is_from_nextcloud(request.headers, app):
        raise Refusal(401, "not authenticated")


def is_from_nextcloud(headers: Mapping[str, str], app: AppSettings) -> bool:
    """Whether the headers name this app and carry its secret; compared in constant time."""
    if app.secret is None or not headers.get("ex-app-version"):
        return False
    try:
        decoded = base64.b64decode(headers.get("authorization-app-api", "").encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return False
    _, colon, secret = decoded.partition(b":")
    same_secret = hmac.compare_digest(secret, app.secret.reveal().encode())
    return bool(colon) and same_secret and headers.get("ex-app-id") == app.id
