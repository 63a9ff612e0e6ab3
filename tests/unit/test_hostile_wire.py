# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever comes over a wire is read or refused in the way its reader promises: never anything else."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import tempfile
import warnings
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError

from context_chat_backend.domain import Message, Principal, Prompt
from context_chat_backend.errors import (
    ContextChatError,
    InvalidRequest,
    ModelUnavailable,
    NextcloudUnavailable,
    Unavailable,
)
from context_chat_backend.exapp import listings
from context_chat_backend.exapp.deliveries import delivery_from
from context_chat_backend.exapp.task_work import TaskWork
from context_chat_backend.inference.embedding.forms import ollama
from context_chat_backend.inference.embedding.openai import OpenAIEmbedder
from context_chat_backend.inference.language.ollama import OllamaModel
from context_chat_backend.inference.language.openai import OpenAIModel
from context_chat_backend.inference.moderation import RemoteModerator
from context_chat_backend.inference.openai_http import OpenAIServer
from context_chat_backend.inference.reranking.remote import RemoteReranker
from context_chat_backend.limits import Limits
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.queues import Queues
from context_chat_backend.nextcloud.sources import Sources
from context_chat_backend.nextcloud.tasks import Tasks
from context_chat_backend.settings.programs import Issuer
from context_chat_backend.store.queued import LeasedRow
from context_chat_backend.web.chatqna_wire import ChatQnaRequest
from context_chat_backend.web.errors import Refusal
from context_chat_backend.web.multipart import read_parts
from context_chat_backend.web.openai_wire import ChatRequest
from context_chat_backend.web_tokens import TokenInvalid, WebTokens
from tests.fakes import FakeBackend
from tests.mutation import changed, damaged, damaged_text
from tests.program import BOUNDARY, part

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FEW, MANY = 25, 300
Check = Callable[..., None]


def fuzzed(**strategies: Any) -> Callable[[Check], Check]:
    """A test of a few examples, and a slow one of many, the same in each run."""

    def decorate(check: Check) -> Check:
        @pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
        def test(times: int) -> None:
            settings(max_examples=times, derandomize=True, database=None, deadline=None)(given(**strategies)(check))()

        test.__name__ = check.__name__
        return test

    return decorate


# Pushes

TEXTS = st.text(max_size=30) | st.sampled_from(
    ("", "files__default: 5", "files__default: ²", "1", "9" * 5000, "a,b,\x00")
)
NAMES = st.sampled_from(("provider", "type", "title", "modified", "userids", "userid"))


@fuzzed(filename=TEXTS | st.none(), headers=st.dictionaries(NAMES, TEXTS))
def test_headers_of_a_part_are_a_delivery_or_refused(filename: str | None, headers: dict[str, str]) -> None:
    whole = {"provider": "files__default", "type": "text/plain", "title": "a", "modified": "1", "userids": "alice"}
    with suppress(InvalidRequest):
        assert delivery_from(filename, whole | headers, NOW).readers
    with suppress(InvalidRequest):
        assert delivery_from("files__default: 5", headers, NOW).readers


async def _parts(folder: Path, body: bytes, content_type: str) -> int:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50):
            yield body[start : start + 50]

    found = 0
    async for one in read_parts(content_type, stream(), folder=folder, max_part_bytes=1000, limits=Limits(parts=20)):
        assert one.name is None or one.name.encode() is not None
        found += 1
    return found


MULTIPART = part("files__default: 5", b"a\r\nb") + part("mail__x: 7", b"") + f"--{BOUNDARY}--\r\n".encode()


@fuzzed(
    body=st.builds(lambda seed: damaged(MULTIPART, random.Random(seed)), st.integers(0, 2**32)),
    kind=st.sampled_from((f"multipart/form-data; boundary={BOUNDARY}",)) | st.text(max_size=60),
)
def test_a_damaged_multipart_body_has_parts_or_is_refused(body: bytes, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with suppress(Refusal):
            assert asyncio.run(_parts(Path(folder), body, kind)) <= 20
        assert list(Path(folder).iterdir()) == []


# Queues

DOCUMENT = {
    "userIds": ["alice"], "reference": "files__default: 5", "title": "a.txt", "content": "text", "modified": 1,
    "type": "text/plain", "provider": "files__default", "size": 5.0,
}  # fmt: skip
MAIL = DOCUMENT | {"reference": "mail__mail: 5", "provider": "mail__mail"}
ACTIONS = (
    {"type": "delete_source_ids", "payload": {"sourceIds": ["files__default: 5"]}},
    {"type": "delete_provider_id", "payload": {"providerId": "mail__mail"}},
    {"type": "delete_user_id", "payload": {"userId": "alice"}},
    {"type": "update_access_source_id", "payload": {"op": "allow", "userIds": ["a"], "sourceId": "files__default: 5"}},
    {"type": "update_access_provider_id", "payload": {"op": "deny", "userIds": ["a"], "providerId": "mail__mail"}},
    {"type": "update_access_decl_source_id", "payload": '{"userIds": ["a"], "sourceId": "files__default: 5"}'},
)


def row(queue: str, payload: Any) -> LeasedRow:
    """A row as it is read back from where it was written down."""
    return LeasedRow(queue=queue, id=1, payload=payload, readers_since=NOW)


@fuzzed(payload=changed(DOCUMENT, MAIL), queue=st.sampled_from(("files", "content_providers")))
def test_a_document_of_a_queue_is_a_delivery_or_refused(payload: Any, queue: str) -> None:
    with suppress(InvalidRequest):
        listed = listings.listed(row(queue, json.loads(json.dumps(payload))))
        assert 0 <= listed.size < 2**63
        str(listed.delivery.ref).encode()


@fuzzed(payload=changed(*ACTIONS))
def test_an_action_of_a_queue_is_one_or_refused(payload: Any) -> None:
    with suppress(InvalidRequest):
        listings.action(row("actions", payload))


# What Nextcloud answers

ENVELOPE = {"ocs": {"meta": {"status": "ok", "statuscode": 200}, "data": {}}}
QUEUES = {"files": {"1": DOCUMENT}, "content_providers": {"2": MAIL}, "actions": {"3": ACTIONS[0]}}
TASK = {"task": {"id": 1, "type": "context_chat:context_chat", "userId": "alice", "input": {"prompt": "x"}}}
SOURCES = {"sources": [{"id": "files__default: 5", "label": "a", "icon": "b", "url": "c"}], "source_ids": ["a__b: 5"]}


def nextcloud(content: bytes, status: int = 200) -> NextcloudClient:
    """One that answers with `content`."""
    client = NextcloudClient("http://nextcloud", "context_chat_backend", "5.4.0", "secret")
    client._client = _answering(content, status)
    return client


class _Whole(httpx.AsyncByteStream):
    """A body as it is sent."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def _answering(
    content: bytes, status: int = 200, kind: str = "application/json", more: Mapping[str, str] | None = None
) -> httpx.AsyncClient:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, stream=_Whole(content), headers={"content-type": kind, **(more or {})})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://x")


def _within(data: Any) -> Any:
    return {"ocs": {"meta": {"status": "ok", "statuscode": 200}, "data": data}}


@fuzzed(
    content=damaged_text(ENVELOPE, _within(QUEUES), _within(TASK), _within(SOURCES)),
    status=st.sampled_from((200, 200, 200, 204, 302, 400, 412, 429, 500)),
)
def test_what_nextcloud_answers_is_read_or_told_to_be_unreadable(content: bytes, status: int) -> None:
    async def ask() -> None:
        client = nextcloud(content, status)
        with suppress(NextcloudUnavailable):
            for found in await Queues(client).lease_documents(5):
                assert 0 <= found.id < 2**63
        with suppress(NextcloudUnavailable):
            await Queues(client).lease_actions(5)
        with suppress(NextcloudUnavailable):
            await Tasks(client).next("a", "b")
        with suppress(NextcloudUnavailable, InvalidRequest):
            await Sources(client).resolve(["a__b: 5"], "alice")
        with suppress(NextcloudUnavailable):
            await Sources(client).enrich({}, "alice")
        with suppress(NextcloudUnavailable):
            await Tasks(client).report_result(1, {})
        await client.close()

    asyncio.run(ask())


INPUT = {"prompt": "What?", "scopeType": "provider", "scopeList": ["files__default"], "scopeListMeta": "", "limit": 10}


@fuzzed(given_=changed(INPUT, INPUT | {"scopeType": "source", "scopeList": ["files__default: 5"]}))
def test_a_task_is_a_question_or_refused_whatever_its_input(given_: Any) -> None:
    async def work() -> None:
        client = nextcloud(json.dumps(_within({"task": TASK["task"] | {"input": given_}} | SOURCES)).encode())
        task = await Tasks(client).next("a", "b")
        assert task is not None
        backend: Any = FakeBackend(Path(tempfile.gettempdir()))
        around: Any = SimpleNamespace(sources=Sources(client))
        with suppress(InvalidRequest):
            await TaskWork(backend, around)._question(task, "alice")  # what comes before the answer
        await client.close()

    asyncio.run(work())


async def test_half_a_character_in_a_scope_names_no_source() -> None:
    asked = INPUT | {"scopeType": "source", "scopeList": ["\ud800", "files__default: 5"]}
    client = nextcloud(json.dumps(_within({"task": TASK["task"] | {"input": asked}} | SOURCES)).encode())
    task = await Tasks(client).next("a", "b")
    assert task is not None
    around: Any = SimpleNamespace(sources=Sources(client))
    backend: Any = FakeBackend(Path(tempfile.gettempdir()))
    question = await TaskWork(backend, around)._question(task, "alice")
    assert question is not None
    assert question.scope.sources is not None
    assert [str(ref) for ref in question.scope.sources] == SOURCES["source_ids"]


# Bodies of programs

USER = {"role": "user", "content": "What?"}
CHAT = {
    "model": "m", "messages": [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "a"}, USER],
    "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "top_p": 0.5, "max_tokens": 5,
    "stop": ["x"], "seed": 1, "retrieval": {"collections": ["town"], "top_k": 4}, "n": 1, "tools": [],
}  # fmt: skip
CHATQNA = CHAT | {
    "context": ["a", {"text": "b", "title": "c", "source": "d"}], "meta": {"auth_token": "t", "x": 1}, "k": 4,
    "score_threshold": 0.5, "chat_template": "{question} {context}", "top_n": 3, "repetition_penalty": 1.0,
}  # fmt: skip


@fuzzed(body=changed(CHATQNA), model=st.sampled_from((ChatRequest, ChatQnaRequest)))
def test_a_body_of_a_program_is_read_or_invalid(body: Any, model: type[Any]) -> None:
    with suppress(ValidationError):
        asked = model.model_validate(json.loads(json.dumps(body)))
        told = [asked.question, asked.instructions, *(turn.text for turn in asked.turns), *asked.asked_before]
        told += [passage.text for passage in getattr(asked, "given", ())]
        "".join(told).encode()
        assert "\x00" not in "".join(told)
        json.dumps(asdict(asked.sampling), allow_nan=False)


# Tokens

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLISHED = {"keys": [json.loads(RSAAlgorithm.to_jwk(KEY.public_key())) | {"kid": "k", "use": "sig", "alg": "RS256"}]}
CLAIMS = {"iss": "https://id.example", "aud": "us", "exp": 4_000_000_000, "sub": "alice", "nbf": 1, "iat": 1}
SECRET = "a secret of the tests that is long enough"
ISSUERS = [
    Issuer("https://id.example", "us", jwks_url="http://id.example/keys"),
    Issuer("https://other.example", "us", secret=SECRET),
]


def _signed(head: Any, claims: Any) -> str:
    """A token with any head and claims; its signature holds where they are ordinary."""
    with suppress(Exception):
        return jwt.encode(claims, KEY, "RS256", headers=head)
    pieces = [urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in (head, claims)]
    return ".".join([*pieces, "AAAA"])


async def _principal(token: str, keys: bytes, more: Mapping[str, str] | None = None) -> Principal:
    tokens = WebTokens(ISSUERS)
    for _, found in tokens._issuers.values():
        if hasattr(found, "_client"):
            found._client = _answering(keys, more=more)
    try:
        return await tokens.principal(token)
    finally:
        await tokens.close()


@fuzzed(head=changed({"alg": "RS256", "typ": "JWT", "kid": "k", "crit": ["x"], "b64": False}), claims=changed(CLAIMS))
def test_a_token_names_somebody_or_is_invalid(head: Any, claims: Any) -> None:
    with suppress(TokenInvalid):
        named = asyncio.run(_principal(_signed(head, claims), json.dumps(PUBLISHED).encode()))
        assert isinstance(claims, dict)
        assert named == Principal("jwt:https://id.example", claims["sub"])


@fuzzed(text=st.text(max_size=200).map(lambda text: f"{text[:60]}.{text[60:120]}.{text[120:]}"))
def test_what_only_looks_like_a_token_is_invalid(text: str) -> None:
    with pytest.raises(TokenInvalid):
        asyncio.run(_principal(text, b"{}"))


@fuzzed(keys=damaged_text(PUBLISHED))
def test_published_keys_are_read_or_passed_over(keys: bytes) -> None:
    with suppress(TokenInvalid, Unavailable):
        assert asyncio.run(_principal(_signed({"kid": "k"}, CLAIMS), keys)).name == "alice"


async def test_a_key_that_is_too_short_signs_nothing() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    published = {"keys": [json.loads(RSAAlgorithm.to_jwk(short.public_key())) | {"kid": "k", "use": "sig"}]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        token = jwt.encode(CLAIMS, short, "RS256", headers={"kid": "k"})
    with pytest.raises(TokenInvalid):
        await _principal(token, json.dumps(published).encode())


async def test_keys_are_not_read_without_end_nor_unpacked() -> None:
    token, keys = _signed({"kid": "k"}, CLAIMS), json.dumps(PUBLISHED).encode()
    assert (await _principal(token, keys)).name == "alice"
    for much, packing in ((keys + b" " * 2**20, {}), (gzip.compress(keys), {"content-encoding": "gzip"})):
        with pytest.raises(Unavailable):
            await _principal(token, much, packing)


# What servers of models answer

PROMPT = Prompt((Message("user", "What?"),), "What?", ())
CHUNK = {
    "choices": [{"delta": {"content": "a", "reasoning_content": "b"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3}, "error": None,
}  # fmt: skip
PROPS = {"default_generation_settings": {"n_ctx": 4096}, "data": [{"id": "m", "max_model_len": 9}], "tokens": [1, 2]}
REFUSED = {"error": {"message": "maximum context length is 4096", "type": "exceed_context_size_error", "code": 400,
                     "n_ctx": 4096, "n_prompt_tokens": 5000, "param": "temperature"}}  # fmt: skip
LINE = {"message": {"content": "a", "thinking": "b"}, "done": True, "done_reason": "stop", "prompt_eval_count": 5,
        "eval_count": 3, "model_info": {"llama.context_length": 4096}}  # fmt: skip


def _server(content: bytes, status: int, kind: str) -> OpenAIServer:
    server = OpenAIServer("http://x", None)
    server._client = _answering(content, status, kind)
    return server


@fuzzed(
    content=damaged_text(CHUNK, PROPS, REFUSED, LINE),
    kind=st.sampled_from(("application/json", "text/event-stream", "application/x-ndjson", "")),
    status=st.sampled_from((200, 200, 200, 400, 404)),
    ollamas=st.booleans(),
)
def test_a_model_writes_or_is_unavailable(content: bytes, kind: str, status: int, ollamas: bool) -> None:
    async def ask() -> None:
        framed = b"data: " + content + b"\n\ndata: [DONE]\n\n" if "event" in kind else content + b"\n"
        server = _server(framed, status, kind)
        model = OllamaModel(server, "m") if ollamas else OpenAIModel(server, "m")
        with suppress(ContextChatError):
            assert await model.context_tokens() > 0
        with suppress(ContextChatError):
            assert all(count >= 0 for count in await model.count_tokens(["a text"]))
        with suppress(ContextChatError):
            async for piece in model.stream(PROMPT):
                assert piece
        await model.close()

    asyncio.run(ask())


VECTORS = {"data": [{"index": 0, "embedding": [0.5, 1.0]}], "embeddings": [[0.5, 1.0]]}


@fuzzed(content=damaged_text(VECTORS, REFUSED), status=st.sampled_from((200, 200, 400)), ollamas=st.booleans())
def test_vectors_are_read_or_the_model_is_unavailable(content: bytes, status: int, ollamas: bool) -> None:
    async def ask() -> None:
        named: dict[str, Any] = {"form": ollama({})} if ollamas else {}
        embedder = OpenAIEmbedder("http://x", dimension=2, **named)
        embedder._client = _answering(content, status)
        with suppress(ModelUnavailable):
            assert (await embedder.embed_question("What?")).shape == (2,)
        await embedder.close()

    asyncio.run(ask())


@fuzzed(content=damaged_text({"results": [{"index": 0, "relevance_score": 0.5}]}, [{"index": 0, "score": 1}]))
def test_scores_are_read_or_the_reranker_is_unavailable(content: bytes) -> None:
    async def ask() -> None:
        reranker = RemoteReranker("http://x", model=None, api_key=None, timeout_seconds=5)
        reranker._client = _answering(content)
        with suppress(ModelUnavailable):
            (score,) = await reranker.scores("What?", ["a text"])
            assert score == score
        await reranker.close()

    asyncio.run(ask())


@fuzzed(content=damaged_text({"results": [{"flagged": False, "categories": {"hate": False}}]}))
def test_a_verdict_is_read_or_the_judge_is_unavailable(content: bytes) -> None:
    async def ask() -> None:
        judge = RemoteModerator("http://x", model="", api_key=None, timeout_seconds=5)
        judge._client = _answering(content)
        with suppress(ModelUnavailable):
            assert await judge.allows("text") in (True, False)
        await judge.close()

    asyncio.run(ask())
