# SPDX-License-Identifier: AGPL-3.0-or-later
"""The calls we make to Nextcloud, with the headers of contract appapi 2.2, and what its answers mean (11)."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from context_chat_backend.bounded_answers import BOUNDED_ELSEWHERE, MOST, bound
from context_chat_backend.errors import NextcloudUnavailable

_CALL_SECONDS = 30.0
_ENABLING_SECONDS = 120.0
"""Within the report of progress 100 Nextcloud calls our heartbeat and enables us (contract appapi 5.5)."""
_OF_VERSION_1 = {996: 500, 997: 401, 998: 404}
"""Codes of envelopes of version 1, whose HTTP status is 200, and what they are in version 2."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OcsAnswer:
    """What a route said: 200 or 204, or a refusal (400, 404, 412, 422) that asking again would not change."""

    status: int
    data: Any = None

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status in (200, 204)


class NextcloudClient:
    """Speaks to one Nextcloud as the ExApp."""

    def __init__(
        self,
        url: str,
        app_id: str,
        app_version: str,
        secret: str,
        *,
        verify: bool | str = True,
        answer_bytes: int = MOST,
    ) -> None:
        """`url` is the base URL, without `/index.php` and trailing slash.

        `verify` says how its certificate is looked at: by the authorities of the system, those in a file or folder,
        or not at all. What is called answers with at most `answer_bytes`.
        """
        self._secret = secret
        trusted = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
        client = httpx.AsyncClient(
            base_url=url,
            verify=trusted,
            timeout=httpx.Timeout(_CALL_SECONDS, connect=10.0),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            headers={
                "EX-APP-ID": app_id,
                "EX-APP-VERSION": app_version,
                "OCS-APIRequest": "true",
                "Accept": "application/json",
            },
        )
        self._client = bound(client, answer_bytes)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        query: Json | None = None,
        user: str = "",
        seconds: float = _CALL_SECONDS,
    ) -> OcsAnswer:
        """Call a route in the name of `user` ('' for none), reading for at most `seconds`.

        Raises NextcloudUnavailable for whatever another attempt may change: no answer, one that cannot be read,
        maintenance, a rate limit, an error of the server, or that it does not take us for its app (401, and 412 without
        an envelope: the secret is wrong, or the app disabled).
        """
        try:
            answer = await self._client.request(
                method,
                path,
                params={"format": "json", **(query or {})},
                json=json,
                headers=self._signature(user),
                timeout=httpx.Timeout(seconds, connect=10.0),
            )
        except httpx.HTTPError as error:
            asked = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            raise NextcloudUnavailable(f"Nextcloud does not answer ({type(error).__name__})", asked=asked) from error
        return _read(answer)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Json, seconds: float, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """A GET whose body is read piece by piece, and counted by who reads it. It is not to be compressed.

        `seconds` is the longest pause between two pieces; `headers` are sent with it. Raises NextcloudUnavailable when
        it breaks.
        """
        sent = {**headers, **self._signature("")}
        timeout = httpx.Timeout(seconds, connect=10.0)
        params = {"format": "json", **query}
        try:
            async with self._client.stream(
                "GET", path, params=params, headers=sent, timeout=timeout, extensions=BOUNDED_ELSEWHERE
            ) as answer:
                yield answer
        except httpx.HTTPError as error:
            raise NextcloudUnavailable(f"the download broke off ({type(error).__name__})") from error

    async def report_progress(self, percent: int, error: str = "") -> bool:
        """Tell how far the initialisation is, 0 to 100; False when Nextcloud did not take it."""
        try:
            told = await self.call(
                "PUT",
                "/ocs/v1.php/apps/app_api/ex-app/status",
                json={"progress": percent, "error": error},
                seconds=_ENABLING_SECONDS,
            )
        except NextcloudUnavailable:
            return False
        return told.ok

    async def log(self, level: int, message: str) -> None:
        """Write a line into Nextcloud's log; 2 is a warning, 3 an error. Raises NextcloudUnavailable."""
        await self.call("POST", "/ocs/v1.php/apps/app_api/api/v1/log", json={"level": level, "message": message})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _signature(self, user: str) -> dict[str, str]:
        return {"AUTHORIZATION-APP-API": b64encode(f"{user}:{self._secret}".encode()).decode("ascii")}


def refusal_of(answer: httpx.Response) -> NextcloudUnavailable:
    """The error for a status that another attempt may change."""
    pause = answer.headers.get("retry-after", "")
    return NextcloudUnavailable(
        f"Nextcloud answers {answer.status_code}",
        status=answer.status_code,
        retry_after=min(float(pause), 600.0) if pause.isascii() and pause.isdigit() else None,
    )


def _read(answer: httpx.Response) -> OcsAnswer:
    if answer.status_code == 204:
        return OcsAnswer(204)
    try:
        envelope = answer.json()["ocs"]
        done, code, data = envelope["meta"]["status"] == "ok", int(envelope["meta"]["statuscode"]), envelope["data"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # ValueError: also UnicodeDecodeError
        if answer.is_success:
            raise NextcloudUnavailable("Nextcloud's answer cannot be read") from None
        raise refusal_of(answer) from None
    if answer.is_success and done:
        return OcsAnswer(200, data)
    status = _OF_VERSION_1.get(code, code) if answer.is_success else answer.status_code
    if status == 401 or status == 429 or status >= 500:
        raise NextcloudUnavailable(f"Nextcloud answers {status}", status=status)
    return OcsAnswer(status, data)
