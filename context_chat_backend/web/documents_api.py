# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs put documents into collections: POST, GET and DELETE /v1/documents."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.domain import Realm, SourceRef
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.document_files import described, put_files
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import IngestCaller, ProgramRoute, Ready


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


@router.get("/v1/documents/{document_id}")
async def document(document_id: str, backend: Ready, caller: IngestCaller) -> dict[str, Any]:
    """Where a document stands."""
    ref = _ref(caller, document_id)
    for report in await backend.overview.find(str(ref)):
        if report.realm == Realm.LOCAL and report.ref == str(ref):
            return described(ref, report.title, report.state, report.reason)
    raise _not_found()


@router.delete("/v1/documents/{document_id}")
async def delete_document(document_id: str, backend: Ready, caller: IngestCaller) -> dict[str, Any]:
    """From now on nobody gets anything of the document."""
    ref = _ref(caller, document_id)
    await backend.actions.delete_sources(Realm.LOCAL, [ref])
    return {"id": str(ref), "object": "document", "deleted": True}


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
