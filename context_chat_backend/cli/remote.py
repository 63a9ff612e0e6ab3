# SPDX-License-Identifier: AGPL-3.0-or-later
"""A chat server elsewhere, asked by the routes of its administrators."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from context_chat_backend.errors import InvalidRequest, Unavailable

AdminUrl = Annotated[
    str | None, typer.Option("--admin-url", help="Ask the chat server at this address, not the database here.")
]
AdminToken = Annotated[
    str | None, typer.Option("--admin-token", envvar="ADMIN_TOKEN", help="The token of its administrators.")
]
_SECONDS = 120.0


class RemoteAdmin:
    """The administration of a chat server elsewhere."""

    def __init__(self, url: str, token: str | None) -> None:
        """Raises InvalidRequest."""
        if not url.startswith(("http://", "https://")):
            raise InvalidRequest("--admin-url: expected a URL https://…")
        if not token:
            raise InvalidRequest("--admin-token: it is missing; or set ADMIN_TOKEN")
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/admin", headers={"Authorization": f"Bearer {token}"}, timeout=_SECONDS
        )

    def ask(self, method: str, *path: str, body: Any = None) -> Any:
        """What is answered. Raises InvalidRequest with what the server says, Unavailable."""
        place = "/".join(quote(part, safe="") for part in path)
        try:
            answer = self._client.request(method, f"/{place}", json=body)
            told = answer.json() if answer.content else None
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"the chat server does not answer as one ({type(error).__name__})") from None
        if answer.is_error:
            said = told.get("error", {}) if isinstance(told, dict) else {}
            raise InvalidRequest(f"the chat server refuses: {said.get('message', answer.status_code)}")
        return told
