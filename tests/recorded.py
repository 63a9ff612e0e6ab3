# SPDX-License-Identifier: AGPL-3.0-or-later
"""The contract's samples and captures as requests and answers. They lie beside the project, where they are at all."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).resolve().parents[2] / "shared" / "contract"
WHERE = "the contract is not beside the project"


@dataclass(frozen=True)
class Recorded:
    """One request, and the answers it may have: (status, decoded body)."""

    name: str
    to_nextcloud: bool
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    answers: tuple[tuple[int, Any], ...]

    def __str__(self) -> str:
        return self.name


@cache
def captures() -> list[Recorded]:
    """Exchanges with a real Nextcloud: each has the answer that was given."""
    found = []
    for file in sorted((CONTRACT / "captures").glob("*.json")):
        for exchange in json.loads(file.read_text(encoding="utf-8"))["exchanges"]:
            request, response = exchange["request"], exchange["response"]
            headers = dict(request["headers"])
            found.append(
                Recorded(
                    name=f"{file.stem}-{exchange['seq']}-{request['method']}",
                    to_nextcloud=exchange["direction"] == "exapp_to_nc",
                    method=request["method"],
                    target=request["target"],
                    headers=headers,
                    body=_bytes(request["body"], headers),
                    answers=((response["status"], (response.get("body") or {}).get("json")),),
                )
            )
    return found


@cache
def samples() -> list[Recorded]:
    """Requests as the documents describe them: each with all the answers they name."""
    found = []
    for file in sorted((CONTRACT / "samples").glob("*.json")):
        sample = json.loads(file.read_text(encoding="utf-8"))
        answers = tuple((one["status"], one.get("body")) for one in sample["responses"])
        for number, request in enumerate(sample["requests"]):
            lines, body = request.get("body_lines_crlf"), request.get("body")
            found.append(
                Recorded(
                    name=f"{file.stem}-{number}",
                    to_nextcloud=sample["direction"] == "exapp->nextcloud",
                    method=request["method"],
                    target=request["path"] + _query(request.get("query") or {}),
                    headers=request.get("headers") or {},
                    body="\r\n".join(lines).encode() if lines else b"" if body is None else json.dumps(body).encode(),
                    answers=answers,
                )
            )
    return found


def fits(recorded: Any, got: Any) -> bool:
    """Whether two JSON values have one shape: names and types; numbers as names stand for each other, null for all."""
    if recorded is None or got is None:
        return True
    if isinstance(recorded, dict) and isinstance(got, dict):
        if not recorded or not got:
            return True
        if all(key.isdigit() for key in (*recorded, *got)):
            return fits(next(iter(recorded.values())), next(iter(got.values())))
        return recorded.keys() == got.keys() and all(fits(recorded[key], got[key]) for key in recorded)
    if isinstance(recorded, list) and isinstance(got, list):
        return not recorded or not got or fits(recorded[0], got[0])
    if isinstance(recorded, list | dict) and isinstance(got, list | dict):
        return not recorded or not got  # PHP writes an empty map as a list
    numbers = (int, float)
    return type(recorded) is type(got) or (isinstance(recorded, numbers) and isinstance(got, numbers))


def _query(query: dict[str, Any]) -> str:
    pairs = [
        f"{name}={one}" for name, value in query.items() for one in (value if isinstance(value, list) else [value])
    ]
    return "?" + "&".join(pairs) if pairs else ""


def _bytes(body: dict[str, Any], headers: dict[str, str]) -> bytes:
    if "json" in body:
        return json.dumps(body["json"]).encode()
    if "multipart_parts" not in body:
        return str(body.get("text", "")).encode()
    boundary = headers["Content-Type"].partition("boundary=")[2]
    pieces = []
    for part in body["multipart_parts"]:
        content = base64.b64decode(part["base64"]) if "base64" in part else str(part.get("text", "")).encode()
        head = "\r\n".join(part["headers_in_order"]).encode()
        pieces.append(f"--{boundary}\r\n".encode() + head + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()
