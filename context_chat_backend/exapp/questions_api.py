# SPDX-License-Identifier: AGPL-3.0-or-later
"""The companion app asks: POST /query and /docSearch (contract push-4x 2.5 and 2.6)."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, Field

from context_chat_backend.domain import EVERYTHING, Principal, Question, Realm, Scope, is_provider_key
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.exapp.authentication import NextcloudRoute
from context_chat_backend.exapp.deliveries import source_refs
from context_chat_backend.exapp.readiness import Enabled
from context_chat_backend.exapp.wire import Text
from context_chat_backend.web.places import take_place

MAX_RESULTS = 500
router = APIRouter(route_class=NextcloudRoute)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


def _without_nul(text: str) -> str:
    return text.replace("\x00", " ")  # PostgreSQL takes none, and no question means one


class Query(BaseModel):
    """A question, as the companion asks it."""

    query: Annotated[Text, AfterValidator(_without_nul), AfterValidator(_not_blank)]
    userId: Annotated[Text, Field(max_length=255), AfterValidator(_not_blank)]  # noqa: N815 - names of the wire
    useContext: bool = True  # noqa: N815
    scopeType: Literal["source", "provider"] | None = None  # noqa: N815
    scopeList: list[Text] | None = None  # noqa: N815
    ctxLimit: int = Field(20, ge=1)  # noqa: N815


@router.post("/query")
async def query(request: Request, body: Query, backend: Enabled) -> dict[str, object]:
    """An answer from what the user may read, with the sources it cites."""
    question = question_from(body, backend.config.limits.question_characters)
    take_place(request, question.asker, 503)  # the companion takes a 4xx for an answer
    if not body.useContext:
        return {"output": await backend.chat(question.text, question.asker), "sources": []}
    answer = await backend.answer(question)
    return {"output": answer.text, "sources": [str(ref) for ref in answer.sources]}


@router.post("/docSearch")
async def doc_search(request: Request, body: Query, backend: Enabled) -> list[dict[str, str]]:
    """The sources that answer best, each once, best first."""
    question = question_from(body, backend.config.limits.question_characters)
    take_place(request, question.asker, 503)  # the companion takes a 4xx for an answer
    found = await backend.find_sources(question)
    return [{"source_id": str(source.ref), "title": source.title} for source in found]


def question_from(body: Query, max_characters: int) -> Question:
    """The question a query asks, which may have so many characters. Raises InvalidRequest."""
    if len(body.query) > max_characters:
        raise InvalidRequest(f"query: at most {max_characters} characters are taken; shorten the question")
    try:
        asker = Principal(Realm.NEXTCLOUD, body.userId)
    except ValueError as error:
        raise InvalidRequest(f"userId: {error}") from None
    return Question(body.query, asker, _scope(body), min(body.ctxLimit, MAX_RESULTS))


def _scope(body: Query) -> Scope:
    """The scope without the ids that have no valid form. Raises InvalidRequest when none is left."""
    if body.scopeType is None:
        return EVERYTHING
    named = dict.fromkeys(body.scopeList or [])
    if body.scopeType == "provider":
        if providers := tuple(key for key in named if is_provider_key(key)):
            return Scope(providers=providers)
    elif refs := tuple(source_refs(named)):
        return Scope(sources=refs)
    raise InvalidRequest(f"scopeList: scopeType is '{body.scopeType}', so at least one of these must be named")
