# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program with a model server that is told to fail: what comes back to whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model_double.client import ModelDouble, running_double
from tests.program import Program, part

QUESTION = {"query": "What does the roof cost?", "userId": "alice"}
CONFIGURATION = """\
llm:
  openai:
    base_url: {url}
    model: double
    first_timeout: 1
    template: "DOCUMENTS {{context}} QUESTION {{question}}"
    no_ctx_template: "ALONE {{question}}"
    end_separator: "###"
"""
REF = "files__default: 1"


@pytest.fixture(scope="module")
def double() -> Iterator[ModelDouble]:
    with running_double() as double:
        yield double


def program_of(storage: Path, double: ModelDouble, more: str = "") -> Program:
    storage.mkdir(parents=True, exist_ok=True)
    (storage / "config.yaml").write_text(CONFIGURATION.format(url=double.url) + more, encoding="utf-8")
    return Program(storage)


def test_a_server_writes_and_while_it_is_down_the_next_model_does(module_storage: Path, double: ModelDouble) -> None:
    with program_of(module_storage / "with", double, "llm_fallback: extractive\n") as program:
        program.load([part(REF, b"The roof costs 4,000 euros.")])
        program.wait_for_indexed(1)

        double.script({"says": "It costs 4,000 euros [1].### And so on."})
        assert program.post("/query", QUESTION) == {"output": "It costs 4,000 euros [1].", "sources": [REF]}
        (asked,) = double.requests
        (message,) = asked["body"]["messages"]
        assert message["content"].startswith('DOCUMENTS <passage number="1"')
        assert message["content"].endswith("QUESTION What does the roof cost?")

        assert program.post("/query", {**QUESTION, "useContext": False})["output"] == "It costs 4,000 euros [1]."
        assert double.requests[-1]["body"]["messages"][0]["content"] == "ALONE What does the roof cost?"

        for fault in ({"fault": "silence"}, {"fault": "error_200"}, {"fault": "rubbish"}):
            double.script(fault)
            answer = program.post("/query", QUESTION)
            assert answer == {"output": "The roof costs 4,000 euros. [1]", "sources": [REF]}
        assert "language_model_unavailable" in program.output()
        assert "roof cost" not in program.output()


def test_without_another_model_the_user_is_told(module_storage: Path, double: ModelDouble) -> None:
    with program_of(module_storage / "without", double) as program:
        program.load([part(REF, b"The roof costs 4,000 euros.")])
        program.wait_for_indexed(1)

        double.script({"fault": "silence"})
        refused = program.client.post("/query", json=QUESTION)
        assert (refused.status_code, refused.json()) == (500, {"error": "a model does not answer: try again"})

        double.script({"fault": "overflow", "n_ctx": 4096})
        refused = program.client.post("/query", json=QUESTION)
        assert refused.status_code == 400
        assert refused.json() == {"error": "the question is too long for the language model: shorten it"}
