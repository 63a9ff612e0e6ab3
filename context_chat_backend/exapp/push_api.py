# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the companion app pushes and asks: versions 4.0.0-beta3 to 5.3.1 (contract push-4x).

A part of /loadSources that is wrong never fails its request, and `cc-retry` is sent from there alone: in an answer to an
action it would abort the companion's whole job. Whatever may succeed when repeated answers 5xx, because the companion
takes a 4xx for done.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from context_chat_backend.domain import (
    EVERYTHING,
    Delivery,
    Principal,
    Question,
    Realm,
    Scope,
    SourceRef,
    is_provider_key,
)
from context_chat_backend.errors import InvalidRequest, SourceRejected, WaitingListFull
from context_chat_backend.exapp.authentication import require_nextcloud
from context_chat_backend.exapp.deliveries import FILES, delivery_from, readers_from
from context_chat_backend.exapp.multipart import Part, read_parts
from context_chat_backend.logs import get_logger
from context_chat_backend.web.errors import Refusal
from context_chat_backend.wiring import Backend

HOLD_SECONDS = 600.0
"""How long /loadSources is held while the waiting list is full (ruling 15); the companion waits 3000 s."""

MAX_QUESTION_CHARACTERS = 32_768
_MAX_RESULTS = 500
_NC = Realm.NEXTCLOUD
_log = get_logger(__name__)


async def require_enabled(request: Request) -> Backend:
    """The backend, when it is ready and Nextcloud has enabled the app. Raises Refusal (503)."""
    backend: Backend = request.app.state.backend
    if not backend.health.ready:
        raise Refusal(503, "the backend is starting: try again")
    if not await backend.switch.is_enabled():
        raise Refusal(503, "the backend is disabled: enable the app context_chat_backend in Nextcloud")
    return backend


router = APIRouter(dependencies=[Depends(require_nextcloud)], redirect_slashes=False)
Enabled = Annotated[Backend, Depends(require_enabled)]


@router.put("/loadSources")
async def load_sources(request: Request, backend: Enabled) -> JSONResponse:
    """Admit the sources of a request, part by part, while the rest still arrives."""
    loaded: dict[str, None] = {}
    retry: dict[str, None] = {}
    seen = False
    deadline = time.monotonic() + request.app.state.hold_seconds
    async with aclosing(_parts(request, backend)) as parts:
        async for part in parts:
            if part.name != "sources":
                continue
            seen = True
            for lists in (loaded, retry):  # delivered twice in one request: what becomes of the last one counts
                lists.pop(part.filename or "", None)
            outcome = await _load(backend, part, deadline)
            if outcome is not None:
                outcome_list = loaded if outcome else retry
                outcome_list[part.filename or ""] = None
    if not seen:
        raise RequestValidationError([{"type": "missing", "loc": ("body", "sources"), "msg": "Field required"}])
    if retry and not loaded:
        raise Refusal(503, "the waiting list is full: try again", {"cc-retry": "true"})
    return JSONResponse({"loaded_sources": list(loaded), "sources_to_retry": list(retry)})


def _parts(request: Request, backend: Backend) -> Any:
    return read_parts(
        request.headers.get("content-type", ""),
        _body(request),
        folder=backend.config.storage / "tmp",
        max_part_bytes=backend.config.indexing.max_source_bytes,
    )


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


async def _load(backend: Backend, part: Part, deadline: float) -> bool | None:
    """True: loaded; False: to be sent again; None: of no use, now or later."""
    try:
        delivery = delivery_from(part.filename, part.headers)
        await _admit(backend, delivery, part, deadline)
    except InvalidRequest as error:
        _log.warning("delivery_refused", reason=str(error))
        return None
    except SourceRejected as rejection:
        _log.info("delivery_rejected", reason=str(rejection.reason))
        return None
    except (WaitingListFull, OSError) as error:
        _log.warning("delivery_postponed", error=type(error).__name__)
        return False
    return True


async def _admit(backend: Backend, delivery: Delivery, part: Part, deadline: float) -> None:
    """Admit, holding the request while there is no room."""
    while True:
        try:
            await backend.admission.admit(delivery, part.path, part.size)
        except WaitingListFull:
            if not await backend.admission.wait_for_room(deadline - time.monotonic()):
                raise
        else:
            return


class DeleteSources(BaseModel):
    """Since 4.0.0 by id for everybody; in the beta by name for one user."""

    sourceIds: list[str] | None = None  # noqa: N815 - names of the wire
    sourceNames: list[str] | None = None  # noqa: N815
    userId: str | None = None  # noqa: N815


class ProviderKey(BaseModel):
    """A provider, in the beta with the user it is about."""

    providerKey: str  # noqa: N815
    userId: str | None = None  # noqa: N815


class UserId(BaseModel):
    """A user."""

    userId: str  # noqa: N815


class UpdateAccess(BaseModel):
    """Grant or revoke one source."""

    op: Literal["allow", "deny"]
    userIds: list[str]  # noqa: N815
    sourceId: str  # noqa: N815


class UpdateAccessProvider(BaseModel):
    """Grant or revoke a provider."""

    op: Literal["allow", "deny"]
    userIds: list[str]  # noqa: N815
    providerId: str  # noqa: N815


class UpdateAccessDeclarative(BaseModel):
    """The readers of one source."""

    userIds: list[str]  # noqa: N815
    sourceId: str  # noqa: N815


@router.post("/deleteSources")
async def delete_sources(body: DeleteSources, backend: Enabled) -> dict[str, str]:
    """Delete sources; ids that are unknown or have no valid form are passed over."""
    named = [text.strip() for text in (body.sourceIds if body.sourceIds is not None else body.sourceNames) or []]
    if not any(named):
        raise Refusal(400, "sourceIds: expected at least one source id")
    refs = _refs(named)
    if body.sourceIds is None and body.userId is not None:
        await backend.actions.deny(_NC, refs, readers_from([body.userId]))
    else:
        await backend.actions.delete_sources(_NC, refs)
    return {"message": "sources deleted"}


@router.post("/deleteProvider")
@router.post("/deleteSourcesByProviderForAllUsers")
async def delete_provider(body: ProviderKey, backend: Enabled) -> dict[str, str]:
    """Delete all sources of a provider."""
    await backend.actions.delete_provider(_NC, _provider(body.providerKey, "providerKey"))
    return {"message": "sources of the provider deleted"}


@router.post("/deleteSourcesByProvider")
async def delete_sources_by_provider(body: ProviderKey, backend: Enabled) -> dict[str, str]:
    """Beta: take a provider from one user."""
    readers = readers_from([body.userId or ""])
    await backend.actions.deny(_NC, _provider(body.providerKey, "providerKey"), readers)
    return {"message": "sources of the provider deleted for the user"}


@router.post("/deleteUser")
async def delete_user(body: UserId, backend: Enabled) -> dict[str, str]:
    """Forget a user, and what only he could read."""
    (user,) = readers_from([body.userId])
    await backend.actions.delete_user(user)
    return {"message": "user deleted"}


@router.post("/updateAccess")
async def update_access(body: UpdateAccess, backend: Enabled) -> dict[str, str]:
    """Grant or revoke one source."""
    change = backend.actions.allow if body.op == "allow" else backend.actions.deny
    await change(_NC, [_ref(body.sourceId)], readers_from(body.userIds))
    return {"message": "access updated"}


@router.post("/updateAccessProvider")
async def update_access_provider(body: UpdateAccessProvider, backend: Enabled) -> dict[str, str]:
    """Grant or revoke all sources of a provider."""
    change = backend.actions.allow if body.op == "allow" else backend.actions.deny
    await change(_NC, _provider(body.providerId, "providerId"), readers_from(body.userIds))
    return {"message": "access updated"}


@router.post("/updateAccessDeclarative")
async def update_access_declarative(body: UpdateAccessDeclarative, backend: Enabled) -> dict[str, str]:
    """Replace the readers of one source."""
    await backend.actions.replace(_NC, [_ref(body.sourceId)], readers_from(body.userIds))
    return {"message": "access updated"}


@router.post("/countIndexedDocuments")
async def count_indexed_documents(backend: Enabled) -> dict[str, int]:
    """Indexed sources by provider; with any there are files, or the companion takes us for dead."""
    counts = await backend.ledger.count_indexed(_NC)
    return {FILES: 0} | counts if counts else {}


class Query(BaseModel):
    """A question, as the companion asks it."""

    query: str = Field(min_length=1)
    userId: str = Field(min_length=1, max_length=255)  # noqa: N815
    useContext: bool = True  # noqa: N815
    scopeType: Literal["source", "provider"] | None = None  # noqa: N815
    scopeList: list[str] | None = None  # noqa: N815
    ctxLimit: int = Field(20, ge=1)  # noqa: N815


@router.post("/query")
async def query(body: Query, backend: Enabled) -> dict[str, object]:
    """An answer from what the user may read, with the sources it cites."""
    question = _question(body)
    if not body.useContext:
        return {"output": await backend.chat(question.text), "sources": []}
    answer = await backend.answer(question)
    return {"output": answer.text, "sources": [str(ref) for ref in answer.sources]}


@router.post("/docSearch")
async def doc_search(body: Query, backend: Enabled) -> list[dict[str, str]]:
    """The sources that answer best, each once."""
    found = await backend.find_sources(_question(body))
    return [{"source_id": str(source.ref), "title": source.title} for source in found]


def _question(body: Query) -> Question:
    text = body.query.replace("\x00", " ").strip()
    user = body.userId.strip()
    for name, value in (("query", text), ("userId", user)):
        if not value:
            raise RequestValidationError([{"type": "value_error", "loc": ("body", name), "msg": "must not be blank"}])
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise Refusal(400, f"query: at most {MAX_QUESTION_CHARACTERS} characters are taken; shorten the question")
    try:
        asker = Principal(_NC, user)
    except ValueError as error:
        raise Refusal(400, f"userId: {error}") from None
    return Question(text, asker, _scope(body), min(body.ctxLimit, _MAX_RESULTS))


def _scope(body: Query) -> Scope:
    if body.scopeType is None:
        return EVERYTHING
    named = body.scopeList or []
    if body.scopeType == "provider":
        providers = tuple(key for key in named if is_provider_key(key))
        if providers:
            return Scope(providers=providers)
    elif refs := _refs(named):
        return Scope(sources=tuple(refs))
    raise Refusal(400, f"scopeList: expected at least one {body.scopeType}, as scopeType is given")


def _refs(named: list[str]) -> list[SourceRef]:
    refs = []
    for text in named:
        try:
            refs.append(SourceRef.parse(text.strip()))
        except ValueError:
            continue
    return refs


def _ref(text: str) -> SourceRef:
    try:
        return SourceRef.parse(text.strip())
    except ValueError as error:
        raise Refusal(400, f"sourceId: {error}") from None


def _provider(text: str, name: str) -> str:
    """A provider's key. The companion sends a bare provider id when an app is disabled: that is no error, it
    matches nothing."""
    key = text.strip()
    if not key or (name == "providerId" and not is_provider_key(key)):
        raise Refusal(400, f"{name}: expected a provider key, for example '{FILES}'")
    return key.replace("\x00", "")
