# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gateway in production: keys, rights, streams that end early, and many callers at once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.gateway import LLAMA, QWEN, REFACT, UPSTREAM_KEY, Gateway, running_gateway
from tests.waiting import PATIENCE

PROMPT = {"prompt": "def hello_world_python():", "model": "smallcloud/Refact-1_6B-fim"}
TOLD = {
    "alpha": ("alice", "The retry limit of the fetcher is nine."),
    "beta": ("bob", "The retry limit of the fetcher is seven."),
}
JUDGED = "safety: {judge: words, words: [quokka]}\n"
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}


@pytest.fixture(scope="module")
def production(module_storage: Path, module_database_url: str) -> Iterator[Gateway]:
    with running_gateway(module_storage, module_database_url, environment="production", more=JUDGED) as gateway:
        for collection, (reader, text) in TOLD.items():
            file = module_storage / f"{collection}.txt"
            file.write_text(text, encoding="utf-8")
            gateway.run("index", str(file), "--collection", collection, "--reader", reader)
        yield gateway


@pytest.fixture
def gateway(production: Gateway) -> Gateway:
    production.double.script()
    return production


@pytest.fixture(scope="module")
def alpha(production: Gateway) -> str:
    """A key of the collection alpha."""
    return production.key("--collection", "alpha", "--scope", "chat", "--scope", "completion", "--scope", "embedding")


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}])
def test_without_a_key_that_holds_nobody_is_answered(gateway: Gateway, headers: dict[str, str]) -> None:  # check 17
    answers = [gateway.chat(PROMPT, **headers), gateway.http.get("/refact-caps", headers=headers)]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert all(answer.headers["www-authenticate"] == "Bearer" for answer in answers)
    code = "invalid_api_key" if headers else "missing_api_key"
    assert all(answer.json()["error"]["code"] == code for answer in answers)
    assert gateway.http.get("/").status_code == gateway.http.get("/health").status_code == 200


def test_a_key_is_sent_in_either_header(gateway: Gateway, alpha: str) -> None:  # check 18
    answers = [gateway.chat(PROMPT, alpha), gateway.chat(PROMPT, **{"X-API-Key": alpha})]

    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_key_is_for_what_it_was_made_for(gateway: Gateway) -> None:
    chat = gateway.key("--collection", "alpha", "--scope", "chat")
    refused = [
        gateway.chat(PROMPT, chat),
        gateway.post(chat, PROMPT, "/v1/completions"),
        gateway.code(chat),
    ]

    assert [answer.json()["error"]["code"] for answer in refused] == ["scope_not_allowed"] * 3
    messages = [{"role": "user", "content": "Hello"}]
    assert gateway.chat({"messages": messages, "retrieval": False}, chat).status_code == 200


def test_prompts_are_not_shown_in_production(gateway: Gateway, alpha: str) -> None:
    assert gateway.code(alpha, "/v1/code-completion-prompt").status_code == 403


def test_who_leaves_stops_the_model(gateway: Gateway, alpha: str) -> None:  # check 19
    before = gateway.double.cancelled
    body = {"prompt": "x", "model": "stub-drip", "stream": True}
    headers = {"Authorization": f"Bearer {alpha}"}
    with gateway.http.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
        next(answer.iter_lines())

    gateway.wait(lambda: gateway.double.cancelled == before + 1)


def test_a_hundred_at_once_are_answered_or_told_to_wait(gateway: Gateway, alpha: str) -> None:  # check 20
    def ask(_: int) -> tuple[int, str]:
        answer = httpx.post(f"{gateway.url}/api/refact/chat", json=body, headers=headers, timeout=PATIENCE)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    body, headers = {"prompt": "x", "model": "stub-fixed"}, {"Authorization": f"Bearer {alpha}"}
    with ThreadPoolExecutor(100) as pool:
        list(pool.map(ask, range(100)))  # what is made once is there now
        before = _resident(gateway)
        told = list(pool.map(ask, range(100)))

    assert {status for status, _ in told} <= {200, 429}
    assert {code for status, code in told if status == 429} <= {"server_busy"}
    assert sum(status == 200 for status, _ in told) > 30
    assert _resident(gateway) - before < 50 * 1024**2


def _resident(gateway: Gateway) -> int:
    assert gateway.program.process is not None
    status = Path(f"/proc/{gateway.program.process.pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_no_key_stands_in_any_log(gateway: Gateway, alpha: str) -> None:  # check 21
    gateway.chat(PROMPT, alpha)
    gateway.chat({"prompt": "a private prompt", "model": "stub-401"}, alpha)
    gateway.wait(lambda: re.search("answered.*stub-401|stub-401.*answered", gateway.logs()) is not None)
    logs = gateway.logs()

    assert alpha not in logs
    assert UPSTREAM_KEY not in logs
    assert "private prompt" not in logs


def test_the_openai_package_is_answered_plainly(gateway: Gateway, alpha: str) -> None:  # check 22
    with gateway.client(alpha) as client:
        plain = client.chat.completions.create(
            model=LLAMA, messages=[{"role": "user", "content": "Hello"}], temperature=0, extra_body={"retrieval": False}
        )
        stream = client.chat.completions.create(
            model=LLAMA,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"retrieval": False},
        )
        chunks = list(stream)
        listed = {model.id for model in client.models.list()}
        text = client.completions.create(model=REFACT, prompt="x", max_tokens=3)
        vectors = client.embeddings.create(model="", input=["a", "b"])

    assert plain.choices[0].message.content == "stub answer"
    assert gateway.double.requests[0]["body"]["temperature"] == 0
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "stub answer"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9
    assert {REFACT, QWEN, LLAMA} <= listed
    assert text.choices[0].text == "stub answer"
    assert [one.index for one in vectors.data] == [0, 1]


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_passed_on_and_so_is_what_they_say(gateway: Gateway, alpha: str, stream: bool) -> None:
    gateway.double.script({"says": "", "calls": [CALL], "finish": "tool_calls"})
    messages = [
        {"role": "user", "content": "What is the retry limit of the fetcher?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "nothing"},
    ]
    body = {"model": LLAMA, "messages": messages, "tools": [TOOL], "tool_choice": "auto", "stream": stream, "seed": 4}
    answer = gateway.post(alpha, body)

    assert answer.status_code == 200, answer.text
    asked = gateway.double.requests[-1]["body"]
    assert asked["messages"][1:] == messages
    assert "is nine" in asked["messages"][0]["content"]  # the key is one of a collection
    assert "seven" not in asked["messages"][0]["content"]
    assert (asked["tools"], asked["tool_choice"], asked["seed"]) == ([TOOL], "auto", 4)
    told = gateway.events(answer) if stream else [answer.json()]
    choices = [choice for event in told for choice in event["choices"]]
    calls = [
        (choice.get("delta") or choice.get("message"))["tool_calls"] for choice in choices if "call_1" in str(choice)
    ]
    assert calls == [[CALL]]
    assert choices[-1]["finish_reason"] == "tool_calls"
    (about,) = [event["context_chat"] for event in told if "context_chat" in event]
    assert [source["title"] for source in about["sources"]] == ["alpha.txt"]


FETCHED = [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}]
ASKED = {"role": "user", "content": "Look."}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "nothing"}
WRONG: dict[str, tuple[list[Any], str]] = {
    "a call of the user": ([ASKED | {"tool_calls": [CALL], "content": FETCHED}, ASKED], "invalid_value"),
    "a call that is no object": ([ASKED, {"role": "assistant", "content": "", "tool_calls": ["x"]}], "invalid_value"),
    "a result of no call": ([ASKED, {"role": "tool", "content": "nothing"}], "invalid_value"),
    "a picture for a result": ([ASKED, RESULT | {"content": FETCHED}], "unsupported_content"),
    "a picture beside a call": (
        [ASKED, {"role": "assistant", "content": FETCHED, "tool_calls": [CALL]}],
        "unsupported_content",
    ),
    "a picture at the end": ([ASKED, {"role": "assistant", "content": FETCHED}], "unsupported_content"),
    "a long result": ([ASKED, RESULT | {"content": "x" * 200_001}], "invalid_value"),
    "a long call": ([ASKED, {"role": "assistant", "tool_calls": [CALL | {"more": "x" * 200_001}]}], "invalid_value"),
    "too many results": ([ASKED, *[RESULT] * 200], "invalid_value"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_tools_say_is_read_as_every_message(gateway: Gateway, alpha: str, wrong: str) -> None:
    messages, code = WRONG[wrong]
    answer = gateway.post(alpha, {"model": LLAMA, "messages": messages, "tools": [TOOL], "retrieval": False})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert answer.json()["error"]["param"].startswith("messages")
    assert gateway.double.requests == []


def test_only_members_that_were_read_are_passed_on(gateway: Gateway, alpha: str) -> None:
    hidden = ASKED | {"images": ["http://169.254.169.254/latest"], "function_call": {"name": "x", "arguments": "{}"}}
    for more in ({"tools": [TOOL]}, {"reasoning_effort": "low"}):
        assert (
            gateway.post(alpha, {"model": LLAMA, "messages": [hidden], "retrieval": False, **more}).status_code == 200
        )
        assert gateway.double.requests[-1]["body"]["messages"] == [ASKED]


QUOKKA = {"content": "Tell of the quokka."}
SENT: dict[str, Any] = {
    "the question": [ASKED | QUOKKA],
    "instructions": [{"role": "system"} | QUOKKA, ASKED],
    "an earlier turn": [ASKED | QUOKKA, {"role": "assistant", "content": "No."}, ASKED],
    "a result": [ASKED, RESULT | QUOKKA],
    "a call": [ASKED, {"role": "assistant", "tool_calls": [CALL | {"more": "a quokka"}]}, RESULT],
    "what is to be gone on with": [ASKED, {"role": "assistant"} | QUOKKA],
}


@pytest.mark.parametrize("sent", SENT)
def test_all_that_is_passed_on_is_judged(gateway: Gateway, alpha: str, sent: str) -> None:
    body = {"model": LLAMA, "messages": SENT[sent], "tools": [TOOL], "retrieval": False}
    answer = gateway.post(alpha, body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "content_refused"), answer.text
    assert gateway.double.requests == []


def test_what_tools_there_are_and_what_plugins_send_along_is_judged(gateway: Gateway, alpha: str) -> None:
    tool = {"type": "function", "function": {"name": "look", "description": "finds a quokka"}}
    messages = [{"role": "system"} | QUOKKA, ASKED]
    answers = [
        gateway.post(alpha, {"model": LLAMA, "messages": [ASKED], "tools": [tool], "retrieval": False}),
        gateway.chat({"messages": messages, "retrieval": False}, alpha),
    ]

    assert [answer.json()["error"]["code"] for answer in answers] == ["content_refused"] * 2
    assert gateway.double.requests == []


@pytest.mark.parametrize(
    "told", [{"prompt": "a quokka"}, {"prompt": ["x", "a quokka"]}, {"prompt": "x", "suffix": "a quokka"}]
)
def test_a_text_that_is_gone_on_with_is_judged(gateway: Gateway, alpha: str, told: dict[str, Any]) -> None:
    answer = gateway.post(alpha, told | {"model": REFACT}, "/v1/completions")

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "content_refused")
    assert gateway.double.requests == []


def test_code_is_judged(gateway: Gateway, alpha: str) -> None:
    answer = gateway.code(alpha, text="# a quokka\n     \n", model=REFACT)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "content_refused")
    assert gateway.double.requests == []


@pytest.mark.parametrize(
    "wrong", [{"user": 5}, {"logprobs": "many"}, {"top_logprobs": 21}, {"parallel_tool_calls": "perhaps"}]
)
def test_what_is_passed_on_has_its_type(gateway: Gateway, alpha: str, wrong: dict[str, Any]) -> None:
    answer = gateway.post(alpha, {"model": LLAMA, "messages": [ASKED], "tools": [TOOL], "retrieval": False} | wrong)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(wrong)))
    assert gateway.double.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_names_the_model_that_wrote_it(gateway: Gateway, alpha: str, stream: bool) -> None:
    asked = {"prompt": "def hello():", "model": "smallcloudai/Refact-1_6B-fim", "stream": stream}
    answer = gateway.post(alpha, asked, "/v1/completions")

    assert (answer.status_code, answer.headers["X-Model-Used"]) == (200, REFACT)


def test_passages_are_only_those_the_caller_may_read(gateway: Gateway, alpha: str) -> None:  # check 24
    body = {"prompt": "# the retry limit of the fetcher", "model": "stub-echo"}
    refused = gateway.chat(body | {"retrieval": {"collections": ["beta"]}}, alpha)
    missing = gateway.chat(body | {"retrieval": {"collections": ["gamma"]}}, alpha)
    told = gateway.chat(body | {"retrieval": {"collections": ["alpha"], "top_k": 3}}, alpha).json()
    alone = gateway.chat(body, alpha).json()

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "collection_not_allowed")
    assert missing.json()["error"] == refused.json()["error"]
    assert [source["title"] for source in told["sources"]] == ["alpha.txt"]
    assert "is nine" in told["response"]
    assert told["response"].endswith(body["prompt"])
    assert (alone["response"], alone["sources"]) == (body["prompt"], [])


def test_editors_get_passages_of_their_own_collections(gateway: Gateway, alpha: str) -> None:
    text = "# the retry limit of the fetcher\nLIMIT = \n"
    changes: dict[str, Any] = {"text": text, "cursor": {"character": 8}, "model": QWEN, "rag_tokens_n": 200}
    told = gateway.code(alpha, **changes).json()
    prompt = gateway.double.requests[-1]["body"]["prompt"]

    assert told["context"]["rag_tokens_limit"] == 200
    assert prompt.startswith("<|file_sep|>alpha.txt\nThe retry limit of the fetcher is nine.")
    assert "<|file_sep|>hello.py\n<|fim_prefix|>" in prompt
    assert "seven" not in prompt


def ended_by(gateway: Gateway, path: str, body: dict[str, Any], key: str, end: Callable[[], object]) -> list[str]:
    """The lines of a stream that would go on for ever, but for `end`."""
    lines: list[str] = []

    def read() -> None:
        lines.extend(line for line in coming if line)

    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", gateway.url + path, json=body, headers=headers, timeout=PATIENCE) as answer:
        coming = answer.iter_lines()
        lines.append(next(coming))
        reading = threading.Thread(target=read)
        reading.start()
        try:
            end()
        finally:
            reading.join(PATIENCE)
    assert not reading.is_alive()
    return lines


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "x", "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "stream": True}),
        ("/api/refact/chat", {"prompt": "x", "stream": True}),
    ],
)
def test_a_stream_ends_when_its_key_is_revoked(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    key = gateway.key("--collection", "alpha", "--scope", "chat", "--scope", "completion")
    gateway.double.script({"fault": "endless", "seconds": 0.05})
    end = partial(gateway.program.run_command, "keys", "revoke", key)
    lines = ended_by(gateway, path, {**body, "retrieval": False}, key, end)

    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "invalid_api_key"
    assert lines[-1] == "data: [DONE]"
    gateway.double.wait_until_left()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_stream_ends_when_its_collection_is_deleted(gateway: Gateway, module_database_url: str, path: str) -> None:
    gateway.program.run_command("collections", "add", "passing")
    key = gateway.key("--collection", "passing", "--scope", "chat", "--scope", "completion")
    gateway.double.script({"fault": "endless", "seconds": 0.05})
    said: dict[str, Any] = (
        {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x"}]}
    )

    def delete() -> None:
        with psycopg.connect(module_database_url) as connection:
            connection.execute("DELETE FROM knowledge.collections WHERE name = 'passing'")

    lines = ended_by(gateway, path, {**said, "stream": True, "retrieval": False}, key, delete)

    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "collection_not_found"
    gateway.double.wait_until_left()


def test_every_use_is_booked_with_its_tokens(gateway: Gateway, alpha: str, production_rows: Any) -> None:
    gateway.chat(PROMPT, alpha)
    gateway.wait(lambda: ("gateway", REFACT, 5, 4, 200) in production_rows())


@pytest.fixture
def production_rows(module_database_url: str) -> Any:
    def rows() -> list[tuple[Any, ...]]:
        with psycopg.connect(module_database_url) as connection:
            query = "SELECT surface, model, prompt_tokens, completion_tokens, status FROM access.usage"
            return list(connection.execute(query).fetchall())

    return rows
