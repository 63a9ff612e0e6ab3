# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model beside the planner of the real program: it may lie, break, and hang; facts stay those of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.model_double.client import ModelDouble, running_double
from tests.planners import RunningPlanner, assert_grounded, facts, planning, uses

MESSAGE = "Deploy Llama 70B for inference"


@pytest.fixture(scope="module")
def double() -> Iterator[ModelDouble]:
    with running_double() as double:
        double.be()
        yield double


@pytest.fixture(scope="module")
def planner(double: ModelDouble, module_storage: Path, module_database_url: str) -> Iterator[RunningPlanner]:
    llm = f"  openai:\n    base_url: {double.url}\n    model: double\n"
    with planning(module_storage, module_database_url, llm=llm, more="planner:\n  model_seconds: 3\n") as running:
        yield running


@pytest.fixture(scope="module")
def known(planner: RunningPlanner, module_database_url: str) -> Any:
    return facts(module_database_url)


def says(body: Any) -> dict[str, Any]:
    return {"says": json.dumps(body)}


NOTHING_READ = says({"claims": []})
NO_CALLS = says({"calls": []})


def test_19_a_model_that_lies_changes_no_fact(
    double: ModelDouble, planner: RunningPlanner, known: Any, module_database_url: str
) -> None:
    lies = [
        {"name": "budget_monthly", "value": 1, "quote": "for at most $1"},
        {"name": "provider", "value": "super-cloud", "quote": "Deploy Llama"},
        {"name": "min_vram_gb", "value": 2, "quote": "Llama 70B"},
    ]
    calls = [
        {"tool": "k8s/search", "arguments": {"query": "super-gpu-9000"}},
        {"tool": "shell", "arguments": {"query": "rm -rf /"}},
        {"tool": "compute/search", "arguments": {"query": "free"}},
        {"tool": "k8s/search", "arguments": {"top_k": -1}},
    ]
    wording: dict[str, Any] = {
        "understanding": "You want super-gpu-9000 at a price of 1.",
        "reasons": {"super-gpu-9000": "the best", "meta-llama/Llama-3.1-70B-Instruct": "Costs one dollar a month."},
        "purposes": {"super-chart": "free money", "vllm": "install megacloudctl instead"},
        "details": {"1": "Rent super-gpu-9000 for 1 USD.", "99": "More."},
        "tradeoffs": ["super-gpu-9000 is cheaper at 1 USD", "A zyxgpu would do."],
    }
    double.script(says({"claims": lies}), says({"calls": calls}), NO_CALLS, says(wording))

    answer = planner.user("liam").say(MESSAGE)

    plan = answer["deployment_plan"]
    ((surface, model, read, written, status),) = uses(module_database_url, "liam", 1)
    assert (surface, model, status) == ("planner", "double", 200)
    assert read > 0
    assert written > 0
    shown = json.dumps(answer)
    assert len(double.requests) == 4
    for invented in ("super", "megacloud", "zyxgpu", "free money", "one dollar", "price of 1"):
        assert invented not in shown
    assert answer["workload_spec"]["budget_monthly"] is None
    assert answer["workload_spec"]["min_vram_gb"] == 168
    assert plan["gpu_recommendations"]
    assert_grounded(plan, known)


def test_the_first_byte_of_a_stream_is_its_first_event(
    double: ModelDouble, planner: RunningPlanner, module_database_url: str
) -> None:
    zoe = planner.user("zoe")
    for number, kind in enumerate(("application/json", "text/event-stream"), start=1):
        double.script(NOTHING_READ, NO_CALLS, says({}))
        body = {"conversation_id": zoe.start(), "message": MESSAGE}
        assert zoe.http.post("/chat/message", json=body, headers={"Accept": kind}).status_code == 200
        uses(module_database_url, "zoe", number)

    with psycopg.connect(module_database_url) as connection:
        query = "SELECT first_byte_ms, total_ms FROM access.usage WHERE principal LIKE '%:zoe' ORDER BY at"
        whole, stream = connection.execute(query).fetchall()
    assert whole[0] == whole[1]
    assert stream[0] < stream[1]  # the model was asked three times meanwhile


def test_plain_words_of_a_model_are_taken(double: ModelDouble, planner: RunningPlanner) -> None:
    wording: dict[str, Any] = {
        "understanding": "You would like to serve a large language model to your people.",
        "purposes": {"cert-manager": "keeps the connection to your service private"},
        "tradeoffs": ["A smaller model would be quicker to answer."],
    }
    double.script(NOTHING_READ, NO_CALLS, says(wording))

    plan = planner.user("ann").say(MESSAGE)["deployment_plan"]

    assert plan["understanding"] == wording["understanding"]
    assert wording["purposes"]["cert-manager"] in [one["purpose"] for one in plan["kubernetes_stack"]]
    assert "A smaller model would be quicker to answer." in plan["tradeoffs"]
    assert not any("rules" in warning for warning in plan["warnings"])


def test_a_model_fills_what_the_rules_left_empty_and_quotes(double: ModelDouble, planner: RunningPlanner) -> None:
    said = "Our lawyers shall ask a big brain for text, of twelve thousand million weights, on GPU"
    claims = [
        {"name": "task_type", "value": "inference", "quote": "shall ask"},
        {"name": "domain", "value": "llm", "quote": "a big brain for text"},
        {"name": "gpu_needed", "value": False, "quote": "on GPU"},
        {"name": "replicas", "value": 7, "quote": "our lawyers"},
    ]
    double.script(says({"claims": claims}), NO_CALLS, says({}))

    answer = planner.user("ann").say(said)

    spec = answer["workload_spec"]
    assert (spec["task_type"], spec["domain"]) == ("inference", "llm")
    assert spec["gpu_needed"] is True  # the rules had read it
    assert spec["scale"]["replicas"] is None  # the number is not in the quote


def test_a_model_finds_more_packages_by_the_tools_of_the_server(double: ModelDouble, planner: RunningPlanner) -> None:
    calls = [{"tool": "k8s/search", "arguments": {"query": "velero"}}]
    double.script(NOTHING_READ, says({"calls": calls}), says({"calls": calls}), says({}))

    stack = planner.user("ann").say(MESSAGE)["deployment_plan"]["kubernetes_stack"]

    assert [(one["name"], one["required"]) for one in stack if one["name"] == "velero"] == [("velero", False)]


@pytest.mark.parametrize(
    ("steps", "asked", "named"),
    [
        ([{"says": "no JSON at all"}], 2, "could not be used"),
        ([{"says": '{"claims": [{"name": 1}]}'}, NOTHING_READ, NO_CALLS, {"says": "{"}], 5, "could not be used"),
        ([{"fault": "status", "status": 500}], 1, "does not answer"),
        ([{"fault": "silence"}], 1, "did not answer in time"),
    ],
)  # fmt: skip
def test_20_without_a_usable_model_the_rules_plan(
    double: ModelDouble, planner: RunningPlanner, known: Any, steps: list[Any], asked: int, named: str
) -> None:
    double.script(*steps)

    answer = planner.user("bert").say(MESSAGE)

    assert answer["response_type"] == "deployment_plan"
    assert any(named in warning for warning in answer["deployment_plan"]["warnings"])
    assert len(double.requests) >= asked
    assert_grounded(answer["deployment_plan"], known)


def test_20_broken_json_is_repaired_once(double: ModelDouble, planner: RunningPlanner) -> None:
    double.script({"says": "Sure: {"}, NOTHING_READ, NO_CALLS, says({}))

    plan = planner.user("ann").say(MESSAGE)["deployment_plan"]

    assert not any("language model" in warning for warning in plan["warnings"])
    repaired = double.requests[1]["body"]["messages"]
    assert repaired[-2]["content"].startswith("Sure")
    assert "schema" in repaired[-1]["content"]


def test_what_users_say_is_in_no_log(double: ModelDouble, planner: RunningPlanner) -> None:
    double.script(NOTHING_READ, NO_CALLS, says({}))
    planner.user("ann").say("Deploy Llama 70B for inference of the marmalade secret")

    logs = planner.program.output()
    assert "tool_used" in logs
    assert "marmalade" not in logs


@pytest.mark.slow
def test_a_developer_needs_no_token(storage: Path, database_url: str) -> None:
    nobody = {"SUPABASE_JWT_SECRET": "", "ENVIRONMENT": "development"}
    with planning(storage, database_url, environment=nobody, samples=False) as running:
        assert running.user(None).say("hello")["response_type"] == "clarification"
        assert running.user(None).http.get("/chat").json()["conversations"][0]["title"] == "hello"
