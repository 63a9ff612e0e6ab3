# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gateway of the real program over HTTP: the acceptance checks of its specification, and what lies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import LLAMA, QWEN, REFACT, UPSTREAM_KEY, Gateway, running_gateway

HELLO = '    print("Hello")\n'
ALIAS = "smallcloud/Refact-1_6B-fim"
PROMPT = {"prompt": "def hello_world_python():", "model": ALIAS}
UNLIMITED = "chatqna: {requests_per_minute: 1000000}\n"


@pytest.fixture(scope="module")
def development(module_storage: Path, module_database_url: str) -> Iterator[Gateway]:
    with running_gateway(
        module_storage, module_database_url, environment="development", more=UNLIMITED, first_seconds=2
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(development: Gateway) -> Gateway:
    development.double.script()
    development.double.be()
    return development


def test_its_root_says_that_it_runs(gateway: Gateway) -> None:  # check 1
    answer = gateway.http.get("/", headers={"X-Request-ID": "mine"})

    assert (answer.status_code, answer.text) == (200, "Backend service for Refact is running!")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-request-id"] == "mine"
    assert gateway.double.requests == []


def test_an_answer_comes_with_what_the_server_said(gateway: Gateway) -> None:  # check 2
    told = gateway.chat(PROMPT).json()

    assert told["response"] == told["raw_refact_response"]["choices"][0]["text"] == "stub answer"
    assert told["raw_refact_response"]["caps_version"] == 0  # nothing added, nothing removed
    assert told["usage"]["total_tokens"] == 9
    assert (told["model"], told["finish_reason"], told["sources"]) == (REFACT, "stop", [])
    (asked,) = gateway.double.requests
    assert asked["body"]["model"] == REFACT
    assert asked["headers"]["authorization"] == f"Bearer {UPSTREAM_KEY}"


def test_nothing_of_an_answer_is_trimmed(gateway: Gateway) -> None:  # check 3
    assert gateway.chat({"prompt": "x", "model": "stub-fixed"}).json()["response"] == HELLO


WRONG: dict[str, tuple[Any, str]] = {
    "no prompt": ({"model": "stub-echo"}, "missing_prompt"),  # check 4
    "a blank prompt": ({"prompt": "   "}, "missing_prompt"),  # check 5
    "no JSON": ("{prompt:", "invalid_json"),  # check 6
    "a list": ("[]", "invalid_json"),
    "no body": ("", "invalid_json"),
    "a path for a model": ({"prompt": "x", "model": "../../etc"}, "model_not_found"),  # check 7
    "an unknown model": ({"prompt": "x", "model": "nope/none"}, "model_not_found"),
    "an odd name": ({"prompt": "x", "model": "a b"}, "model_not_found"),
    "a number": ({"prompt": 5}, "invalid_value"),
    "too long": ({"prompt": "x" * 100_001}, "invalid_value"),
    "no tokens": ({"prompt": "x", "max_tokens": 0}, "invalid_value"),
    "too many stops": ({"prompt": "x", "stop": ["a"] * 17}, "invalid_value"),
    "nobody asks": ({"messages": [{"role": "system", "content": "x"}]}, "invalid_value"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_request_is_refused_by_its_code(gateway: Gateway, wrong: str) -> None:
    body, code = WRONG[wrong]
    answer = gateway.chat(body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert answer.json()["detail"] == answer.json()["error"]["message"]
    if code == "model_not_found":
        assert body["model"] in answer.json()["detail"]


def test_an_explicit_zero_reaches_the_model(gateway: Gateway) -> None:  # check 8
    body = {"prompt": "x", "temperature": 0, "model": "stub-echo", "max_tokens": 5000, "stop": "END", "top_p": 9}
    assert gateway.chat(body).json()["response"] == "x"

    asked = gateway.double.requests[-1]["body"]
    assert (asked["temperature"], asked["max_tokens"], asked["stop"], asked["top_p"]) == (0, 1024, ["END"], 1)


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("stub-500", 502, "upstream_bad_response"),
        ("stub-html", 502, "upstream_bad_response"),
        ("stub-401", 502, "upstream_auth"),
        ("stub-loading", 503, "upstream_loading"),
        ("stub-slow", 504, "upstream_timeout"),
    ],
)
def test_a_server_in_trouble_is_told_by_its_code(gateway: Gateway, model: str, status: int, code: str) -> None:
    answer = gateway.chat({"prompt": "x", "model": model})  # check 9

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert UPSTREAM_KEY not in answer.text
    assert str(gateway.double.port) not in answer.text


def test_without_its_server_it_says_so_soon(gateway: Gateway) -> None:  # check 10
    gateway.stop_model_server()
    try:
        answer = gateway.chat(PROMPT)
        gateway.wait(lambda: gateway.http.get("/health").status_code == 503)
        health = gateway.http.get("/health")
        root = gateway.http.get("/")
    finally:
        gateway.start_model_server()

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert root.status_code == 200
    assert health.json() == {"status": "error", "components": {"server": {"status": "ok"}, "llm": {"status": "error"}}}
    gateway.wait(lambda: gateway.http.get("/health").status_code == 200)


def test_a_completion_is_streamed_as_it_would_come_at_once(gateway: Gateway) -> None:  # check 11
    body = {"model": "stub-echo", "prompt": "abc def\n  ghi"}
    whole = gateway.post(None, body, "/v1/completions").json()
    stream = gateway.post(None, body | {"stream": True}, "/v1/completions")

    assert all(not line or line.startswith(("data: ", ":")) for line in stream.text.split("\n"))
    events = gateway.events(stream)
    said = "".join(choice["text"] for event in events for choice in event["choices"])
    assert said == whole["choices"][0]["text"] == "abc def\n  ghi"
    assert whole["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert {event["id"] for event in events} == {events[0]["id"]}
    assert all("usage" not in event for event in events)
    assert isinstance(events[0]["caps_version"], int)


def test_usage_follows_where_it_is_wanted(gateway: Gateway) -> None:
    body = {"prompt": "x", "stream": True, "stream_options": {"include_usage": True}, "meta": 5, "top_n": 1}
    events = gateway.events(gateway.post(None, body, "/v1/completions"))

    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == 9


def test_several_prompts_have_choices_in_their_order(gateway: Gateway) -> None:
    body = {"model": "stub-echo", "prompt": ["a", "b"], "n": 2, "echo": True, "max_completion_tokens": 7}
    told = gateway.post(None, body, "/v1/completions").json()
    events = gateway.events(gateway.post(None, body | {"stream": True, "n": 1}, "/v1/completions"))

    assert [(one["index"], one["text"]) for one in told["choices"]] == [(0, "aa"), (1, "aa"), (2, "bb"), (3, "bb")]
    assert told["usage"]["total_tokens"] == 18
    assert gateway.double.requests[0]["body"]["max_tokens"] == 7
    said = {0: "", 1: ""}
    for choice in (choice for event in events for choice in event["choices"]):
        said[choice["index"]] += choice["text"]
    assert said == {0: "aa", 1: "bb"}


def test_a_suffix_is_filled_in_by_the_models_own_marks(gateway: Gateway) -> None:
    body = {"prompt": "a<|fim_middle|>b", "suffix": "c", "model": QWEN}
    assert gateway.post(None, body, "/v1/completions").status_code == 200

    asked = gateway.double.requests[-1]["body"]
    assert asked["prompt"] == "<|fim_prefix|>ab<|fim_suffix|>c<|fim_middle|>"
    assert "<|endoftext|>" in asked["stop"]
    refused = gateway.post(None, body | {"model": LLAMA}, "/v1/completions").json()["error"]
    assert (refused["code"], refused["param"]) == ("invalid_value", "suffix")


@pytest.mark.parametrize("stream", [False, True])
def test_mail_addresses_are_masked_however_they_are_cut(gateway: Gateway, stream: bool) -> None:
    gateway.double.script({"says": "ask ann@example.org or b", "pieces": ["ask ann", "@exam", "ple.org or", " b"]})
    answer = gateway.post(None, {"prompt": "x", "mask_emails": True, "stream": stream}, "/v1/completions")
    told = gateway.events(answer) if stream else [answer.json()]

    said = "".join(choice["text"] for event in told for choice in event["choices"])
    assert said == "ask john@example.com or b"


def test_an_answer_is_streamed_with_its_end_and_its_tokens(gateway: Gateway) -> None:
    events = gateway.events(gateway.chat({"prompt": "x", "model": "stub-fixed", "stream": True}))

    assert "".join(event["delta"] for event in events) == HELLO
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["usage"]["total_tokens"] == 9
    assert (events[-1]["finish_reason"], events[-1]["sources"]) == ("stop", [])


def test_messages_are_answered_by_a_model_for_chat(gateway: Gateway) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    told = gateway.chat({"messages": messages, "context": [{"text": "It rains.", "source": "w"}]}).json()

    assert (told["response"], told["model"]) == ("stub answer", LLAMA)
    assert told["sources"] == [{"id": "w", "title": "w", "score": None, "origin": "request"}]
    asked = gateway.double.requests[-1]
    assert asked["path"] == "/v1/chat/completions"
    assert asked["body"]["model"] == "small"
    assert asked["body"]["messages"][1:] == messages
    assert "It rains." in asked["body"]["messages"][0]["content"]


def test_the_capabilities_are_those_clients_of_today_read(gateway: Gateway) -> None:  # check 12
    told = gateway.http.get("/refact-caps").json()

    assert set(told) == {
        "cloud_name", "completion", "chat", "embedding", "telemetry_endpoints", "tokenizer_endpoints", "caps_version",
    }  # fmt: skip
    assert told["completion"]["default_model"] == REFACT
    assert told["completion"]["models"][REFACT] == {"n_ctx": 4096, "supports_scratchpads": {"FIM-SPM": {}}}
    assert told["completion"]["models"][QWEN]["supports_scratchpads"] == {"FIM-PSM": {}}
    assert told["chat"]["models"] == {LLAMA: {"n_ctx": 8192, "supports_tools": True}}
    assert next(iter(told["embedding"]["models"].values()))["size"] == 384
    assert gateway.http.get("/coding_assistant_caps.json").json() == told


def test_older_clients_get_the_flat_form(gateway: Gateway) -> None:  # check 13
    old, new = (
        gateway.http.get("/refact-caps", headers={"User-Agent": f"refact-lsp {version}"}).json()
        for version in ("0.9.0", "0.10.15")
    )

    assert old["endpoint_template"] == "/v1/completions"
    assert REFACT in old["running_models"]
    assert old["code_completion_default_model"] == REFACT
    assert "completion" in new


def test_a_tokenizer_nobody_has_is_not_found(gateway: Gateway) -> None:
    assert gateway.http.get("/tokenizer/Refact--1.6B").json()["error"]["code"] == "not_found"


def prompt_of(gateway: Gateway, **changes: Any) -> str:
    answer = gateway.code(path="/v1/code-completion-prompt", **changes)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt"])


def test_each_family_has_a_prompt_of_its_own(gateway: Gateway) -> None:  # check 14
    refact, qwen = prompt_of(gateway, model=REFACT), prompt_of(gateway, model=QWEN)

    assert refact == "<fim_suffix>\n<fim_prefix>def hello_world():\n    <fim_middle>"
    assert qwen == "<|fim_prefix|>def hello_world():\n    <|fim_suffix|>\n<|fim_middle|>"


def test_marks_in_the_users_code_are_taken_out(gateway: Gateway) -> None:  # check 15
    prompt = prompt_of(gateway, text="x\na<fim_<fim_middle>middle>b", model=REFACT)

    assert prompt.count("<fim_middle>") == 1
    assert prompt.endswith("<fim_middle>")


@pytest.mark.parametrize(
    ("cursor", "code"),
    [
        ({"file": "other.py"}, "invalid_value"),  # check 16
        ({"line": 99}, "cursor_out_of_range"),
        ({"character": 999}, "cursor_out_of_range"),
        ({"line": -1}, "cursor_out_of_range"),
    ],
)
def test_a_cursor_outside_is_refused(gateway: Gateway, cursor: dict[str, Any], code: str) -> None:
    answer = gateway.code(cursor=cursor)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_what_belongs_at_the_cursor_is_cut_and_remembered(gateway: Gateway) -> None:
    gateway.double.script({"says": 'print("Hello")\r\n    return 1\n\ndef more(): pass<|endoftext|>x'})
    told, again = gateway.code(model=REFACT).json(), gateway.code(model=REFACT).json()
    fresh = gateway.code(model=REFACT, no_cache=True).json()

    (choice,) = told["choices"]
    assert choice == {"index": 0, "code_completion": 'print("Hello")\n    return 1', "finish_reason": "stop"}
    assert told["context"] == {"n_ctx": 4096, "prompt_tokens": 5, "rag_tokens_limit": 0, "cached": False}
    assert again["context"]["cached"]
    assert again["choices"] == told["choices"]
    assert not fresh["context"]["cached"]
    assert len(gateway.double.requests) == 2
    (streamed,) = gateway.events(gateway.code(model=REFACT, stream=True))
    assert streamed["choices"] == told["choices"]


def test_one_line_is_one_line(gateway: Gateway) -> None:
    gateway.double.script({"says": "pass\nmore"})
    told = gateway.code(model=REFACT, multiline=False, text="a\n    rest of the line\nb", no_cache=True).json()

    assert told["choices"][0]["code_completion"] == "pass"
    asked = gateway.double.requests[-1]["body"]
    assert asked["prompt"] == "<fim_suffix>\nb<fim_prefix>a\n    <fim_middle>"
    assert "\n" in asked["stop"]


def test_an_instruct_model_is_asked_in_words(gateway: Gateway) -> None:
    gateway.double.script({"says": "```python\nprint(1)\n```"})
    told = gateway.code(model=LLAMA).json()

    assert told["choices"][0]["code_completion"] == "print(1)"
    assert "<CURSOR>" in gateway.double.requests[-1]["body"]["messages"][-1]["content"]


def test_a_file_that_is_longer_than_the_model_reads_is_shown_around_the_cursor(gateway: Gateway) -> None:
    lines = [f"line_{number} = {number}" for number in range(5000)]
    changes: dict[str, Any] = {"text": "\n".join(lines), "cursor": {"line": 2500, "character": 0}}
    prompt = prompt_of(gateway, model=REFACT, **changes)

    assert len(prompt) < 4 * 4096
    assert "line_2499 = " in prompt
    assert "line_2501 = " in prompt
    assert "line_0 = " not in prompt
    refused = gateway.code(model=REFACT, parameters={"max_new_tokens": 4000}, **changes)
    assert refused.status_code == 200  # the model's limit counts


def test_a_stream_that_breaks_off_ends_with_its_error(gateway: Gateway) -> None:
    gateway.double.script({"fault": "cut"})
    events = gateway.events(gateway.chat({"prompt": "x", "stream": True}))

    assert events[0]["delta"] == "stub "
    assert events[-1]["error"]["code"] == "upstream_bad_response"


def test_a_server_that_fails_again_and_again_is_left_alone_and_no_other(gateway: Gateway) -> None:
    gateway.double.script({"fault": "hang_up"})
    failed = [gateway.chat({"prompt": "x", "model": "stub-drip"}) for _ in range(5)]
    gateway.double.script()
    refused = gateway.chat({"prompt": "x", "model": "stub-drip"})

    assert {answer.json()["error"]["code"] for answer in failed} == {"upstream_bad_response"}
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_unavailable")
    assert refused.headers["retry-after"]
    assert gateway.double.requests == []
    assert gateway.chat({"prompt": "x"}).status_code == 200
