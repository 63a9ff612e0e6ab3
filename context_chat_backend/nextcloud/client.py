# SPDX-License-Identifier: AGPL-3.0-or-later
"""The calls we make to Nextcloud, with the headers of contract appapi 2.2."""

from __future__ import annotations

from base64 import b64encode

import httpx

_TIMEOUT_SECONDS = 120.0
"""Within the report of progress 100 Nextcloud calls our heartbeat and enables us (contract appapi 5.5)."""


class NextcloudClient:
    """Speaks to one Nextcloud as the ExApp."""

    def __init__(self, url: str, app_id: str, app_version: str, secret: str) -> None:
        """`url` is the base URL, without `/index.php` and trailing slash."""
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=10.0),
            headers={
                "EX-APP-ID": app_id,
                "EX-APP-VERSION": app_version,
                "AUTHORIZATION-APP-API": b64encode(f":{secret}".encode()).decode("ascii"),
                "OCS-APIRequest": "true",
                "Accept": "application/json",
            },
        )

    async def report_progress(self, percent: int, error: str = "") -> bool:
        """Tell how far the initialisation is, 0 to 100; False when Nextcloud did not take it."""
        try:
            answer = await self._client.put(
                "/ocs/v1.php/apps/app_api/ex-app/status",
                params={"format": "json"},
                json={"progress": percent, "error": error},
            )
            return bool(answer.is_success and answer.json()["ocs"]["meta"]["status"] == "ok")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
