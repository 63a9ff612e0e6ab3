# SPDX-License-Identifier: AGPL-3.0-or-later
"""Administrators make, fill and delete collections: /admin/collections."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from context_chat_backend.domain import EVERYBODY, Collection
from context_chat_backend.indexing.collecting import Pair
from context_chat_backend.store.collections import CollectionReport
from context_chat_backend.web.chat_route import AdminRoute
from context_chat_backend.web.chat_wire import Text
from context_chat_backend.web.document_files import put_files
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.key_wire import Name
from context_chat_backend.web.program_route import Ready
from context_chat_backend.wiring import Backend

MAX_PAIRS = 5000
_MAX_FILE_BYTES = 50 * 1024 * 1024
_MAX_ANSWER_BYTES = 2 * 1024 * 1024
_MAX_QUESTION_CHARACTERS = 2000


class _ImportRoute(AdminRoute):
    body_limit = "import_body_bytes"


class _FilesRoute(AdminRoute):
    body_limit = "document_body_bytes"


router = APIRouter(route_class=AdminRoute)
imports = APIRouter(route_class=_ImportRoute)
files = APIRouter(route_class=_FilesRoute)


class NewCollection(BaseModel):
    """The body of POST /admin/collections."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "town", "title": "Town of Brambleford"}})

    name: Name
    title: Annotated[Text, Field(max_length=200)] = ""
    visibility: Literal["private", "public"] = "private"


def _fits(answer: str) -> str:
    if len(answer.encode()) > _MAX_ANSWER_BYTES:
        raise ValueError(f"an answer has at most {_MAX_ANSWER_BYTES} bytes")
    return answer


class AskedPair(BaseModel):
    """A question with its answer."""

    question: Annotated[
        Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=_MAX_QUESTION_CHARACTERS)
    ]
    answer: Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_fits)]


@router.get("/admin/collections")
async def listed(backend: Ready) -> list[dict[str, Any]]:
    """Every collection, by name."""
    return [_described(one) for one in await backend.collections.all()]


@router.post("/admin/collections")
async def make(body: NewCollection, backend: Ready) -> dict[str, Any]:
    """A collection of this name; where there is one, it gets this title and visibility."""
    collection = Collection(body.name)
    await backend.collections.ensure(collection)
    await backend.collections.entitle(collection, body.title)
    change = backend.collections.allow if body.visibility == "public" else backend.collections.deny
    await change(collection, [EVERYBODY])
    (found,) = [one for one in await backend.collections.all() if one.name == body.name]
    return _described(found)


@router.delete("/admin/collections/{name}", status_code=204, response_class=Response)
async def delete(name: Annotated[Name, Path()], backend: Ready) -> None:
    """Delete a collection with all that lies in it; its keys reach nothing any more."""
    if not await backend.collections.delete(Collection(name)):
        raise _not_found()
    if (log := backend.chat_log) is not None:
        await asyncio.to_thread(log.forget, lambda record: record.get("collection") == name)


@imports.post("/admin/collections/{name}/qa-pairs")
async def put_pairs(
    name: Annotated[Name, Path()], body: Annotated[list[AskedPair], Field(max_length=MAX_PAIRS)], backend: Ready
) -> dict[str, Any]:
    """Put questions with their answers into a collection; one with the same question is replaced."""
    collection = await _known(backend, name)
    admitted = await backend.collecting.admit_pairs(collection, [Pair(one.question, one.answer) for one in body])
    waiting = await backend.still_waiting(collection.itself, admitted.refs)
    return {
        "collection": name,
        "received": len(body),
        "imported": len(admitted.refs),
        "new": admitted.new,
        "waiting": waiting,
        "rejected": [{"id": str(ref), "reason": str(reason)} for ref, reason in admitted.refused.items()],
    }


@files.post("/admin/collections/{name}/documents")
async def put_documents(request: Request, name: Annotated[Name, Path()], backend: Ready) -> dict[str, Any]:
    """Put the files of a form into a collection, each under its name or the `id` before it."""
    return await put_files(request, backend, [await _known(backend, name)], _MAX_FILE_BYTES)


async def _known(backend: Backend, name: str) -> Collection:
    collection = Collection(name)
    if not await backend.collections.known([collection]):
        raise _not_found()
    return collection


def _described(one: CollectionReport) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "visibility": "public" if one.public else "private",
        "created_at": one.created_at.timestamp(),
        "sources": one.sources,
    }


def _not_found() -> ApiError:
    return ApiError(404, "collection_not_found", "there is no such collection", param="name")
