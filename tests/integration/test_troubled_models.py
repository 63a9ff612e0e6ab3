# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a user sees of a model server in trouble, through the whole program, at once and as it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_openai_api import QUESTION
from tests.programs import Service, serving
from tests.streams import sent_in


@pytest.fixture(scope="module")
def service(module_storage: Path, module_database_url: str) -> Iterator[Service]:
    """One model, and no other that could take its place."""
    told = {"town": ("alice", "The budget for the roof repair is 4,000 euros.")}
    options = "    max_tokens: 50\n    first_timeout: 1\n"
    with serving(module_storage, module_database_url, told, options=options) as service:
        yield service


@pytest.fixture(scope="module")
def alice(service: Service) -> str:
    return service.key("--user", "alice")


def ask(service: Service, key: str, *, stream: bool) -> Any:
    body = {"messages": [{"role": "user", "content": QUESTION}], "retrieval": True, "stream": stream}
    return service.post(key, body)


def streamed(text: str) -> list[Any]:
    lines = sent_in(text)
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


WRITTEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "markers of passages there are none of": (
        {"says": "It is 4,000 euros [1][7]. So says [12]."},
        "It is 4,000 euros [1]. So says.",
        "stop",
    ),
    "half a character": ({"fault": "half_bytes"}, "Grüße 😀 \ufffd", "stop"),
    "10 MB": ({"fault": "huge"}, "blah " * 159 + "blah …", "length"),
}


@pytest.mark.parametrize("trouble", WRITTEN)
def test_what_can_be_mended_is(service: Service, alice: str, trouble: str) -> None:
    step, seen, finish = WRITTEN[trouble]
    service.double.script(step)
    whole = ask(service, alice, stream=False).json()["choices"][0]
    pieces = [piece["choices"][0] for piece in streamed(ask(service, alice, stream=True).text)]

    assert (whole["message"]["content"], whole["finish_reason"]) == (seen, finish)
    assert "".join(piece["delta"].get("content", "") for piece in pieces) == seen
    assert pieces[-1]["finish_reason"] == finish


ANSWERED_WRONG = (502, "upstream_bad_response", "the server of the model answers with an error")
BROKEN: dict[str, tuple[dict[str, Any], tuple[int, str, str]]] = {
    "rubbish": ({"fault": "rubbish"}, ANSWERED_WRONG),
    "200 with an error in its body": ({"fault": "error_200"}, ANSWERED_WRONG),
    "10 MB in one line": ({"fault": "huge", "one_line": True}, ANSWERED_WRONG),
    "no answer at all": ({"fault": "silence"}, (504, "upstream_timeout", "the model does not answer in time")),
}


@pytest.mark.parametrize("trouble", BROKEN)
def test_what_cannot_be_read_is_said_to_be_the_model_s(service: Service, alice: str, trouble: str) -> None:
    step, (status, code, told) = BROKEN[trouble]
    service.double.script(step)
    refused = ask(service, alice, stream=False)
    begun = ask(service, alice, stream=True)

    assert refused.status_code == status
    for error in (refused.json()["error"], streamed(begun.text)[-1]["error"]):
        assert (error["code"], error["message"]) == (code, told)


def test_none_of_it_is_in_the_log(service: Service) -> None:
    assert "budget" not in service.program.output()
    assert "blah" not in service.program.output()
