# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OCS envelope, versions 1 and 2 (contract appapi 11), in the JSON PHP writes."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response

_JSON = "application/json; charset=utf-8"


def php_json(value: Any) -> bytes:
    """JSON as PHP escapes it."""
    return (
        json.dumps(value, separators=(",", ":")).replace("/", "\\/").replace("<", "\\u003C").replace(">", "\\u003E")
    ).encode()


def envelope(version: int, data: Any, status: int = 200, message: str = "") -> Response:
    """A controller's answer: in version 1 failures too are HTTP 200."""
    ok = status < 400
    meta: dict[str, Any] = {
        "status": "ok" if ok else "failure",
        "statuscode": 100 if ok and version == 1 else status,
        "message": "OK" if ok else message,
    }
    if version == 1:
        meta |= {"totalitems": "", "itemsperpage": ""}
    body = php_json({"ocs": {"meta": meta, "data": data}})
    http = 200 if version == 1 and status not in (401, 997) else status
    return Response(body, http, media_type=_JSON)


def unauthenticated(version: int) -> Response:
    """HTTP 401 in both versions."""
    meta: dict[str, Any] = {"status": "failure", "statuscode": 997, "message": "AppAPI authentication failed"}
    if version == 1:
        meta |= {"totalitems": "", "itemsperpage": ""}
    return Response(php_json({"ocs": {"meta": meta, "data": []}}), 401, media_type=_JSON)


def refused(message: str) -> Response:
    """HTTP 412 without an envelope: no (valid, enabled) ExApp asked, or a header is missing."""
    return Response(php_json({"message": message}), 412, media_type=_JSON)
