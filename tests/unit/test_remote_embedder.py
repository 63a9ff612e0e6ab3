# SPDX-License-Identifier: AGPL-3.0-or-later
"""The embedder of a remote server, against a real HTTP server that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from context_chat_backend.errors import ConfigurationError, ModelUnavailable, TextRefused
from context_chat_backend.inference.embedding import openai
from context_chat_backend.inference.embedding.families import family_of
from context_chat_backend.inference.embedding.openai import Login, OpenAIEmbedder, batches
from tests.embedding_server import DIMENSION, Answer, EmbeddingServer, Trouble, embedding_server


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


@pytest.fixture
async def embedder(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIEmbedder]:
    monkeypatch.setattr(openai, "_PAUSE_SECONDS", 0.01)
    made = OpenAIEmbedder(server.url, model="hashed", dimension=DIMENSION, batch_size=8)
    yield made
    await made.close()


def times(count: int, answer: Answer) -> Trouble:
    """Trouble for the first `count` requests."""
    left = iter(range(count))
    return lambda texts: answer if next(left, None) is not None else None


async def test_without_a_dimension_the_server_is_asked(server: EmbeddingServer) -> None:
    made = OpenAIEmbedder(server.url)
    await made.open()

    assert made.space.dimension == DIMENSION
    await made.close()


async def test_the_model_and_its_prefixes_are_sent(server: EmbeddingServer) -> None:
    name = "intfloat/multilingual-e5-small"
    made = OpenAIEmbedder(server.url, model=name, dimension=DIMENSION, family=family_of(name))
    await made.embed_passages(["a text"])
    await made.embed_question("a text")
    await made.close()

    assert [request["model"] for request in server.requests] == [name, name]
    assert server.batches == [["passage: a text"], ["query: a text"]]
    assert made.space.question_prefix == "query: "


@pytest.mark.parametrize(
    ("login", "header"),
    [
        (Login(), None),
        (Login(api_key="k"), "Bearer k"),
        (Login(username="u", password="p"), "Basic " + base64.b64encode(b"u:p").decode()),
    ],
)
async def test_the_login_is_sent(server: EmbeddingServer, login: Login, header: str | None) -> None:
    made = OpenAIEmbedder(server.url, login=login, dimension=DIMENSION)
    await made.embed_question("text")
    await made.close()

    assert server.authorizations == [header]
    assert "k" not in repr(login).replace("Login", "")


async def test_vectors_come_in_the_order_of_the_texts_however_the_server_sorts(
    server: EmbeddingServer, embedder: OpenAIEmbedder
) -> None:
    texts = [f"text number {number}" for number in range(20)]
    sorted_ = await embedder.embed_passages(texts)
    server.order = -1

    assert np.array_equal(await embedder.embed_passages(texts), sorted_)


async def test_no_request_has_more_texts_than_allowed(server: EmbeddingServer, embedder: OpenAIEmbedder) -> None:
    await embedder.embed_passages(["text"] * 20)

    assert sorted(len(batch) for batch in server.batches) == [4, 8, 8]


@pytest.mark.parametrize(
    ("sizes", "most_texts", "most_tokens", "groups"),
    [
        ([], 8, 100, []),
        ([1, 1, 1], 2, 100, [[0, 1], [2]]),
        ([10, 10, 10], 8, 25, [[0, 1], [2]]),
        ([1, 300, 1], 8, 100, [[0], [1], [2]]),
    ],
)
def test_requests_are_kept_within_texts_and_tokens(
    sizes: list[int], most_texts: int, most_tokens: int, groups: list[list[int]]
) -> None:
    assert list(batches(sizes, most_texts, most_tokens)) == groups


async def test_a_busy_server_gets_the_time_it_asks_for(server: EmbeddingServer, embedder: OpenAIEmbedder) -> None:
    server.trouble = times(1, Answer(429, headers={"Retry-After": "0.3"}))
    started = time.monotonic()
    await embedder.embed_passages(["text"])

    assert time.monotonic() - started >= 0.3
    assert len(server.requests) == 2


async def test_a_time_may_be_named_as_a_date(server: EmbeddingServer, embedder: OpenAIEmbedder) -> None:
    in_two_seconds = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.trouble = times(1, Answer(503, headers={"Retry-After": in_two_seconds}))
    started = time.monotonic()
    await embedder.embed_passages(["text"])

    assert time.monotonic() - started >= 0.9  # dates have whole seconds


async def test_all_requests_wait_for_a_server_that_asked_one_to(
    server: EmbeddingServer, embedder: OpenAIEmbedder
) -> None:
    server.trouble = times(1, Answer(429, headers={"Retry-After": "600"}))
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="asks to wait"):
            await embedder.embed_passages(["text"])
    with pytest.raises(ModelUnavailable, match="asks to wait"):
        await embedder.embed_question("text")

    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [Answer(500), Answer(502), Answer(503), Answer(429), Answer(0)])
async def test_trouble_that_passes_is_not_noticed(
    server: EmbeddingServer, embedder: OpenAIEmbedder, answer: Answer
) -> None:
    server.trouble = times(2, answer)

    assert (await embedder.embed_passages(["text"])).shape == (1, DIMENSION)


@pytest.mark.parametrize("answer", [Answer(500), Answer(429), Answer(0)])
async def test_trouble_that_stays_means_unavailable(
    server: EmbeddingServer, embedder: OpenAIEmbedder, answer: Answer
) -> None:
    server.trouble = lambda texts: answer

    with pytest.raises(ModelUnavailable, match="does not answer"):
        await embedder.embed_passages(["text"] * 20)


async def test_a_server_that_is_not_there_means_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_PAUSE_SECONDS", 0.01)
    made = OpenAIEmbedder("http://127.0.0.1:9/v1")
    with pytest.raises(ModelUnavailable, match="ConnectError"):
        await made.open()
    await made.close()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_server_that_refuses_us_is_not_asked_again(
    server: EmbeddingServer, embedder: OpenAIEmbedder, status: int
) -> None:
    server.trouble = lambda texts: Answer(status)

    with pytest.raises(ModelUnavailable, match="base_url, model_name and auth"):
        await embedder.embed_passages(["text"])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(400),
        Answer(413),
        Answer(422),
        Answer(500, b'{"error": {"message": "input is too large to process. increase the physical batch size"}}'),
        Answer(500, b'{"error": {"message": "llama_decode returned -1"}}'),
    ],
)
async def test_a_text_that_is_too_long_is_cut_and_the_others_of_its_batch_are_not(
    server: EmbeddingServer, embedder: OpenAIEmbedder, refusal: Answer
) -> None:
    long = "long words " * 100
    server.trouble = lambda texts: refusal if any(len(text) > 600 for text in texts) else None
    texts = ["first", "second", long, "fourth", "fifth"]
    vectors = await embedder.embed_passages(texts)
    server.trouble = lambda texts: None
    alone = await embedder.embed_passages([*texts[:2], long[:550], *texts[3:]])

    assert np.allclose(vectors, alone, atol=1e-6)


async def test_a_text_that_is_refused_in_any_length_is_named_alone(
    server: EmbeddingServer, embedder: OpenAIEmbedder
) -> None:
    server.trouble = lambda texts: Answer(400) if any("b" in text for text in texts) else None

    with pytest.raises(TextRefused, match="status 400"):
        await embedder.embed_passages(["a", "b", "c"])
    assert (await embedder.embed_passages(["a", "c"])).shape == (2, DIMENSION)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "form that is not known"),
        (b"[]", "form that is not known"),
        (b'{"data": [{"index": 0, "embedding": "x"}]}', "form that is not known"),
        (b'{"data": []}', "one vector for each text"),
        (b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}', "one vector for each text"),
        (b'{"data": [{"index": 0, "embedding": [NaN, 1]}]}', "vectors that are none"),
        (b'{"data": [{"index": 0, "embedding": [1, 2]}]}', "2 dimensions instead of 64"),
    ],
)
async def test_an_answer_that_makes_no_sense_means_unavailable(
    server: EmbeddingServer, embedder: OpenAIEmbedder, body: bytes, said: str
) -> None:
    server.trouble = lambda texts: Answer(200, body)

    with pytest.raises(ModelUnavailable, match=said):
        await embedder.embed_passages(["text"])


async def test_a_server_that_refuses_any_text_is_a_matter_of_configuration(server: EmbeddingServer) -> None:
    server.trouble = lambda texts: Answer(400)
    made = OpenAIEmbedder(server.url)

    with pytest.raises(ConfigurationError, match="check base_url and model_name"):
        await made.open()
    await made.close()


async def test_a_question_does_not_wait_for_a_server_that_hangs(
    server: EmbeddingServer, embedder: OpenAIEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "_QUESTION_SECONDS", 0.2)
    hold = threading.Event()

    def hang(texts: list[str]) -> None:
        hold.wait(60)

    server.trouble = hang
    with pytest.raises(ModelUnavailable, match="did not answer within"):
        await embedder.embed_question("anybody there?")
    hold.set()


async def test_a_server_that_stays_in_trouble_is_left_alone(server: EmbeddingServer, embedder: OpenAIEmbedder) -> None:
    server.trouble = lambda texts: Answer(401)
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="refuses us"):
            await embedder.embed_question("text")
    with pytest.raises(ModelUnavailable, match="left alone"):
        await embedder.embed_question("text")

    assert len(server.requests) == 3


async def test_a_question_does_not_wait_behind_passages(server: EmbeddingServer, embedder: OpenAIEmbedder) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    hold = threading.Event()

    def slow(texts: list[str]) -> None:
        if texts[0] == "passage":
            loop.call_soon_threadsafe(asked.set)
            server._lock.release()
            hold.wait(60)
            server._lock.acquire()

    server.trouble = slow
    passages = asyncio.create_task(embedder.embed_passages(["passage"] * 100))
    await asked.wait()
    await embedder.embed_question("quick?")

    assert not passages.done()
    hold.set()
    await passages
