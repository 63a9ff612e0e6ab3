# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that programs and administrators put into collections."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request

from context_chat_backend.domain import PAIR, Admission, Collection, SourceRef
from context_chat_backend.errors import SourceRejected, WaitingListFull
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.multipart import Part, read_parts
from context_chat_backend.wiring import Backend

_MAX_FIELD_BYTES = 4096
_ITEM = re.compile(rf"(?!{PAIR})[A-Za-z0-9:-]{{1,128}}")


async def put_files(
    request: Request, backend: Backend, reachable: Sequence[Collection], max_part_bytes: int | None = None
) -> dict[str, Any]:
    """Admit the files of a request into `reachable`, each of at most `max_part_bytes`. Raises ApiError (400, 403)."""
    collection = reachable[0] if len(reachable) == 1 else None
    item: str | None = None
    data: list[dict[str, Any]] = []
    async with aclosing(_parts(request, backend, max_part_bytes)) as parts:
        async for part in parts:
            match part.name:
                case "collection":
                    collection = _allowed(reachable, _value(part))
                case "id":
                    item = _item(_value(part))
                case "files":
                    if collection is None:
                        raise ApiError(
                            400, "invalid_value", "collection: say where to, before files", param="collection"
                        )
                    data.append(await _put(backend, collection, item, part))
                    item = None
                case _:
                    raise ApiError(400, "invalid_value", "expected the form fields collection, id and files")
    if not data:
        raise ApiError(400, "invalid_value", "files: no file was sent", param="files")
    return {"object": "list", "data": data}


def _parts(request: Request, backend: Backend, max_part_bytes: int | None) -> AsyncGenerator[Part, None]:
    most = backend.config.indexing.max_source_bytes
    return read_parts(
        request.headers.get("content-type", ""),
        request.stream(),
        folder=backend.temporary,
        max_part_bytes=most if max_part_bytes is None else min(most, max_part_bytes),
        limits=backend.config.limits,
    )


async def _put(backend: Backend, collection: Collection, item: str | None, part: Part) -> dict[str, Any]:
    title = part.filename or ""
    if not title.strip():
        raise ApiError(400, "invalid_value", "files: each file needs a name", param="files")
    item = item or hashlib.sha256(title.encode(errors="surrogatepass")).hexdigest()[:32]
    ref = SourceRef(collection.provider, item)
    kind = part.headers.get("content-type", "").partition(";")[0].strip()
    try:
        admission = await backend.collecting.admit(collection, item, title, kind, part.body)
    except SourceRejected as rejection:
        return described(ref, title, "rejected", str(rejection.reason))
    except WaitingListFull:
        return described(ref, title, "refused", "there is no room now: send it again later")
    return described(ref, title, "unchanged" if admission is Admission.UNCHANGED else "waiting", None)


def described(ref: SourceRef, title: str, state: str, reason: str | None) -> dict[str, Any]:
    """Where a document stands."""
    return {"id": str(ref), "object": "document", "title": title, "status": state, "reason": reason}


def _value(part: Part) -> str:
    """The text of a form field. Raises ApiError (400)."""
    if part.size > _MAX_FIELD_BYTES:
        raise ApiError(400, "invalid_value", f"{part.name}: too long", param=part.name)
    try:
        return part.small.decode().strip()
    except UnicodeDecodeError:
        raise ApiError(400, "invalid_value", f"{part.name}: expected text in UTF-8", param=part.name) from None


def _item(text: str) -> str:
    if not _ITEM.fullmatch(text):
        raise ApiError(400, "invalid_value", "id: expected 1 to 128 letters, digits, colons and hyphens", param="id")
    return text


def _allowed(reachable: Sequence[Collection], name: str) -> Collection:
    """The collection, when the key may write into it. Raises ApiError (403)."""
    for collection in reachable:
        if collection.name == name:
            return collection
    raise ApiError(403, "collection_not_allowed", "this key does not write into that collection", param="collection")
