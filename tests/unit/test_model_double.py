# SPDX-License-Identifier: AGPL-3.0-or-later
"""The server that stands for models and for Elasticsearch, in each of the protocols it speaks."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.model_double.client import ModelDouble, running_double
from tests.streams import sent_in
from tests.waiting import until

ASKED = [{"role": "user", "content": "When is the lift serviced?"}]


def post(double: ModelDouble, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    return httpx.post(double.root + path, content=content, headers=headers, timeout=60)


def lines(answer: httpx.Response) -> list[Any]:
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"messages": ASKED}), ("/v1/completions", {"prompt": "def f():"})],
)
def test_openai_is_answered_whole_and_in_pieces(double: ModelDouble, path: str, body: dict[str, Any]) -> None:
    double.script({"says": "In April."})
    whole = post(double, path, body | {"n": 2}).json()
    stream = post(double, path, body | {"stream": True, "stream_options": {"include_usage": True}}).text

    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert "In April." in str(whole["choices"][0])
    assert whole["usage"]["total_tokens"] == 9
    events = sent_in(stream)
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["total_tokens"] == 9


@pytest.mark.parametrize(
    ("path", "body", "member"),
    [("/api/chat", {"messages": ASKED}, "message"), ("/api/generate", {"prompt": "def f():"}, "response")],
)
def test_ollama_writes_lines_until_it_is_done(
    double: ModelDouble, path: str, body: dict[str, Any], member: str
) -> None:
    double.script({"says": "In April."})
    told = lines(post(double, path, body | {"model": "llama3.2"}))
    whole = post(double, path, body | {"stream": False}).json()

    said = [one[member]["content"] if member == "message" else one[member] for one in told]
    assert "".join(said) == "In April."
    assert [one["done"] for one in told] == [False] * (len(told) - 1) + [True]
    assert told[-1]["done_reason"] == "stop"
    assert told[-1]["eval_count"] == 4
    assert whole["done"]
    assert "In April." in str(whole[member])


def test_each_model_has_a_script_of_its_own(double: ModelDouble) -> None:
    double.script_models({"judge": [{"says": "SAFE: false"}, {"says": "SAFE: true"}], "writer:1b": [{"says": "5"}]})
    said = [
        post(double, "/api/chat", {"messages": ASKED, "model": model, "stream": False}).json()["message"]["content"]
        for model in ("judge", "writer:1b", "judge", "judge", "another")
    ]

    assert said == ["SAFE: false", "5", "SAFE: true", "SAFE: true", "stub answer"]


@pytest.mark.parametrize(("model", "status"), [("stub-500", 500), ("stub-401", 401), ("stub-loading", 503)])
def test_models_do_what_their_names_say(double: ModelDouble, model: str, status: int) -> None:
    assert post(double, "/v1/completions", {"prompt": "x", "model": model}).status_code == status


def test_a_stub_repeats_or_says_what_it_always_says(double: ModelDouble) -> None:
    echoed, fixed = (
        post(double, "/v1/completions", {"prompt": "  x\n", "model": model}).json()["choices"][0]["text"]
        for model in ("stub-echo", "stub-fixed")
    )

    assert echoed == "  x\n"
    assert fixed == '    print("Hello")\n'


def test_who_leaves_is_counted(double: ModelDouble) -> None:
    before = double.cancelled
    body = {"prompt": "x", "model": "stub-drip", "stream": True}
    with httpx.stream("POST", f"{double.url}/completions", json=body) as answer:
        next(answer.iter_lines())

    until(lambda: double.cancelled != before)
    assert double.cancelled == before + 1
    assert double.requests[-1]["left"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"])
def test_texts_with_words_in_common_lie_near_each_other(double: ModelDouble, path: str) -> None:
    double.be(dimension=32)
    told = post(double, path, {"input": ["the lift", "the lift", "dogs"], "model": "m"}).json()
    first, second, third = told.get("embeddings") or [one["embedding"] for one in told["data"]]

    assert len(first) == 32
    assert first == second != third


def test_texts_are_ranked_by_their_words_or_as_the_script_says(double: ModelDouble) -> None:
    asked = {"query": "the lift", "documents": ["dogs", "the old lift"]}
    by_words = post(double, "/v1/rerank", asked).json()["results"]
    double.script({"scores": [0.5, 0.25]})
    scripted = post(double, "/rerank", {"query": "the lift", "texts": ["dogs", "the old lift"]}).json()

    assert [one["relevance_score"] for one in by_words] == [0, 1]
    assert scripted == [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.25}]


def test_an_index_is_made_once_and_filled_in_bulks(double: ModelDouble) -> None:
    index = f"{double.root}/chat-logs"
    made = [httpx.request(method, index).status_code for method in ("HEAD", "PUT", "HEAD", "PUT")]
    body = '{"index": {}}\n{"query": "a"}\n{"create": {"_index": "other"}}\n{"query": "b"}\n'
    told = post(double, "/chat-logs/_bulk", body, **{"Content-Type": "application/x-ndjson"}).json()

    assert made == [404, 200, 200, 400]
    assert not told["errors"]
    assert [item["status"] for one in told["items"] for item in one.values()] == [201, 201]
    assert [(one["_index"], one["query"]) for one in double.indexed["documents"]] == [
        ("chat-logs", "a"),
        ("other", "b"),
    ]
    assert double.indexed["bulks"] == [2]


def test_a_bulk_is_refused_whole_or_in_part_and_then_taken(double: ModelDouble) -> None:
    double.index({"status": 503}, {"rejects": [1]})
    body = '{"index": {}}\n{"query": "a"}\n{"index": {}}\n{"query": "b"}\n'
    refused, partly, taken = (post(double, "/logs/_bulk", body) for _ in range(3))

    assert refused.status_code == 503
    assert [item["index"]["status"] for item in partly.json()["items"]] == [201, 429]
    assert not taken.json()["errors"]
    assert double.indexed["bulks"] == [1, 2]


def test_who_sends_no_credentials_is_refused_where_they_are_wanted(double: ModelDouble) -> None:
    double.be(authorization="Basic dTpw")
    statuses = [
        httpx.get(f"{double.root}/logs", headers=headers).status_code
        for headers in ({}, {"Authorization": "Basic dTpw"})
    ]

    assert statuses == [401, 404]


def test_it_starts_again_at_the_same_place() -> None:
    with running_double() as first:
        port = first.port
    with running_double(port) as second:
        assert httpx.get(f"{second.root}/health").json() == {"status": "ok"}
