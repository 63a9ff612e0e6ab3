# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs put documents into collections: POST, GET and DELETE /v1/documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.domain import PAIR, Admission, Collection, Realm, SourceRef
from context_chat_backend.errors import SourceRejected, WaitingListFull
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.multipart import Part, read_parts
from context_chat_backend.web.program_route import IngestCaller, ProgramRoute, Ready
from context_chat_backend.wiring import Backend

_MAX_FIELD_BYTES = 4096
_ITEM = re.compile(rf"(?!{PAIR})[A-Za-z0-9:-]{{1,128}}")


class _DocumentsRoute(ProgramRoute):
    body_limit = "document_body_bytes"


router = APIRouter(route_class=_DocumentsRoute)


@router.post("/v1/documents")
async def put_documents(request: Request, backend: Ready, caller: IngestCaller) -> dict[str, Any]:
    """Admit the files of a request, one after the other; indexing follows in the background.

    multipart/form-data: `files`, as many as are wanted; before them `collection`, where the key has not exactly one,
    and `id`, under which the next file replaces an earlier one. Without an id the file's name is it.
    """
    return await put_files(request, backend, tuple(caller.collections or ()))


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


@router.get("/v1/documents/{document_id}")
async def document(document_id: str, backend: Ready, caller: IngestCaller) -> dict[str, Any]:
    """Where a document stands."""
    ref = _ref(caller, document_id)
    for report in await backend.overview.find(str(ref)):
        if report.realm == Realm.LOCAL and report.ref == str(ref):
            return _described(ref, report.title, report.state, report.reason)
    raise _not_found()


@router.delete("/v1/documents/{document_id}")
async def delete_document(document_id: str, backend: Ready, caller: IngestCaller) -> dict[str, Any]:
    """From now on nobody gets anything of the document."""
    ref = _ref(caller, document_id)
    await backend.actions.delete_sources(Realm.LOCAL, [ref])
    return {"id": str(ref), "object": "document", "deleted": True}


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
        return _described(ref, title, "rejected", str(rejection.reason))
    except WaitingListFull:
        return _described(ref, title, "refused", "there is no room now: send it again later")
    return _described(ref, title, "unchanged" if admission is Admission.UNCHANGED else "waiting", None)


def _described(ref: SourceRef, title: str, state: str, reason: str | None) -> dict[str, Any]:
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


def _ref(caller: Caller, document_id: str) -> SourceRef:
    """The source, when it lies in a collection of the key. Raises ApiError (404)."""
    try:
        ref = SourceRef.parse(document_id)
    except ValueError:
        raise _not_found() from None
    if ref.provider not in {collection.provider for collection in caller.collections or ()}:
        raise _not_found()
    return ref


def _not_found() -> ApiError:
    return ApiError(404, "not_found", "there is no such document in the collections of this key")
