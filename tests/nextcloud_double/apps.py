# SPDX-License-Identifier: AGPL-3.0-or-later
"""AppAPI: one registered ExApp, its state, and the calls made to it (contract appapi 2, 3, 5, 6)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

AA_VERSION = "33.0.0"
_HEARTBEAT_SECONDS = 0.2
_INIT_SECONDS = 30.0


@dataclass
class ExApp:
    """What AppAPI's database says of the ExApp."""

    id: str
    version: str
    secret: str
    url: str
    enabled: bool = False
    init: int = 0
    action: str = "init"
    error: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """What was asked of it and what it answered."""

    def headers(self, user: str = "") -> dict[str, str]:
        """What every request to it carries."""
        return {
            "AA-VERSION": AA_VERSION,
            "EX-APP-ID": self.id,
            "EX-APP-VERSION": self.version,
            "AUTHORIZATION-APP-API": base64.b64encode(f"{user}:{self.secret}".encode()).decode(),
            "AA-REQUEST-ID": "CLI",
            "User-Agent": "Nextcloud-Server-Crawler/33.0.0",
        }

    def acting_user(self, headers: Mapping[str, str]) -> str | None:
        """The user a request of it names, '' for none; None when the headers are not its own."""
        try:
            decoded = base64.b64decode(headers.get("authorization-app-api", ""), validate=True).decode()
        except ValueError:
            return None
        user, _, secret = decoded.partition(":")
        known = headers.get("ex-app-id") == self.id and secret == self.secret
        return user if known and headers.get("ex-app-version") else None

    async def heartbeat(self, tries: int = 600) -> bool:
        """Ask until it answers."""
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(_HEARTBEAT_SECONDS)
            status, body = await self._call("GET", "/heartbeat", 30, signed=False)
            if status == 200 and isinstance(body, dict) and body.get("status") == "ok":
                return True
        return False

    async def initialise(self) -> None:
        """POST /init; 404 and 501 mean that there is nothing to do."""
        self.init, self.action, self.error, self.enabled = 0, "init", "", True
        status, _ = await self._call("POST", "/init", _INIT_SECONDS)
        if status in (404, 501):
            await self.set_progress(100, "")
        elif not 200 <= status < 300:
            self.error = f"init failed: {status}"

    async def set_progress(self, progress: int, error: str) -> None:
        """A report of its; 100 enables it within this very request."""
        if self.init == 100 and progress:
            return
        if error:
            self.error = error
            return
        if progress == 0:
            self.error = ""
        self.init = progress
        if progress == 100:
            self.action = ""
            await self.enable()

    async def enable(self) -> bool:
        """Heartbeat, then PUT /enabled=1; a failure disables it again."""
        self.enabled = True
        if not await self.heartbeat(3):
            return False
        if await self._set_enabled(1):
            return True
        self.enabled = False
        return False

    async def disable(self) -> bool:
        """PUT /enabled=0 while it still counts as enabled; then it does not, whatever it said."""
        told = await self._set_enabled(0)
        self.enabled = False
        return told

    async def trigger(self, provider: str) -> None:
        """A task was scheduled; the answer is ignored."""
        await self._call("POST", f"/trigger?providerId={provider}", 3)

    async def get(self, path: str) -> Any:
        """A call of the companion."""
        return (await self._call("GET", path, 10))[1]

    async def post(self, path: str) -> Any:
        """A call of the companion."""
        return (await self._call("POST", path, 10))[1]

    async def _set_enabled(self, enabled: int) -> bool:
        status, body = await self._call("PUT", f"/enabled?enabled={enabled}", 60)
        return status != 0 and not (isinstance(body, dict) and body.get("error") not in (None, "", "0"))

    async def _call(self, method: str, path: str, timeout: float, *, signed: bool = True) -> tuple[int, Any]:
        """Status (0: no answer) and decoded body."""
        status, body = 0, None
        headers = self.headers() if signed else {"Accept": "application/json", "Content-Type": "application/json"}
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(timeout=timeout, verify=False) as client:
                answer = await client.request(method, self.url + path, headers=headers)
            status = answer.status_code
            with suppress(ValueError):
                body = answer.json()
        self.calls.append({"method": method, "path": path, "status": status, "body": body})
        return status, body
