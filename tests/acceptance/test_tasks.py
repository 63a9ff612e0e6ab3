# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions of the Assistant come as tasks: answered with sources, once, whatever fails on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import agree, installed, register
from tests.nextcloud_double.process import CHAT, SEARCH, Nextcloud
from tests.program import Program

PROVIDERS = {"context_chat-context_chat", "context_chat-context_chat_search"}


@pytest.fixture(scope="module")
def double() -> Iterator[Nextcloud]:
    with Nextcloud() as running:
        running.do("add_users", names=["alice", "bob"])
        yield running


@pytest.fixture(scope="module")
def installation(double: Nextcloud, module_storage: Path, module_database_url: str) -> Iterator[Program]:
    """Registered; alice reads two files about gardens and a card, bob one of the files."""
    with installed(double, module_storage, module_database_url, llm="nc_texttotext") as running:
        double.do("put_file", path="Plans/pond.md", readers=["alice", "bob"], text="The garden has a deep pond.")
        double.do("put_file", path="Plans/shed.md", readers=["alice"], text="The garden shed is painted green.")
        card = {"provider": "deck__cards", "item": "7", "title": "Garden party", "content": "A garden party in June."}
        double.do("submit", **card, readers=["alice"])
        register(double, running)
        double.wait(lambda: double.queues_are_empty() and agree(double, running, ["alice", "bob"]))
        yield running


@pytest.fixture
def nextcloud(double: Nextcloud, installation: Program) -> Nextcloud:
    """As after the registration."""
    double.forget()
    return double


@pytest.fixture
def program(nextcloud: Nextcloud, installation: Program) -> Program:
    """It runs, is enabled, and has no task in work."""
    if installation.process is None:
        installation.start(enable=False)
    if not nextcloud.get("/app")["enabled"]:
        assert nextcloud.order("enable")
    return installation


def sources(task: dict[str, Any]) -> list[dict[str, str]]:
    assert task["status"] == "STATUS_SUCCESSFUL", task
    return [json.loads(one) for one in task["output"]["sources"]]


def ids(task: dict[str, Any]) -> list[str]:
    return [one["id"] for one in sources(task)]


def test_an_answer_is_written_by_nextcloud_for_the_asker_and_names_its_sources(
    nextcloud: Nextcloud, program: Program
) -> None:
    task = nextcloud.ended(nextcloud.schedule(CHAT, "bob", "How deep is the pond in the garden?"))

    assert task["output"]["output"] == "According to [1], that is so. [1]"
    (source,) = sources(task)
    assert source["label"] == "pond.md"
    assert source["url"].endswith(source["id"].removeprefix("files__default: "))
    assert source["icon"].startswith("http")
    (scheduled,) = nextcloud.calls("POST", "/taskprocessing/schedule")
    assert scheduled["user"] == "bob"
    assert "The garden has a deep pond." in scheduled["parameters"]["input"]["input"]
    assert "painted green" not in scheduled["parameters"]["input"]["input"]


@pytest.mark.parametrize("taken", [True, False])
def test_an_answer_is_shown_while_it_is_written_where_that_is_wanted(
    nextcloud: Nextcloud, program: Program, taken: bool
) -> None:
    nextcloud.set_tasks(streams=True, polls_until_written=3)
    if not taken:
        nextcloud.fault("POST", "/stream-result", "status", times=100, value=500)

    task = nextcloud.ended(nextcloud.schedule(CHAT, "bob", "How deep is the pond in the garden?"))

    assert task["output"]["output"] == "According to [1], that is so. [1]"
    shown = nextcloud.calls("POST", "/stream-result")
    assert bool(shown) is taken
    for call in shown:
        assert task["output"]["output"].startswith(call["parameters"]["output"]["output"])
        assert call["parameters"]["output"]["output"] != ""
        assert call["parameters"]["output"]["sources"] == []


def test_a_search_finds_each_source_once_up_to_its_limit(nextcloud: Nextcloud, program: Program) -> None:
    everything = nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden"))
    two = nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden", limit="2"))
    nothing = nextcloud.ended(nextcloud.schedule(SEARCH, "mallory", "garden"))

    assert sorted(ids(everything)) == nextcloud.do("readable_by", user="alice")
    assert ids(two) == ids(everything)[:2]
    assert {"id", "label", "icon", "url"} == sources(everything)[0].keys()
    assert next(one for one in sources(everything) if one["id"] == "deck__cards: 7")["label"].endswith("Garden party")
    assert ids(nothing) == []


def test_scopes_of_providers_files_and_folders_are_kept(nextcloud: Nextcloud, program: Program) -> None:
    folder = nextcloud.do("add_folder", path="Plans")
    empty = nextcloud.do("add_folder", path="Nothing")

    def found(kind: str, *scope: str) -> list[str]:
        asked: dict[str, Any] = {"scopeType": kind, "scopeList": list(scope)}
        return sorted(ids(nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden", **asked))))

    mine = nextcloud.do("readable_by", user="alice")
    assert found("provider", "deck__cards") == ["deck__cards: 7"]
    assert found("source", f"files__default: {folder}") == mine[1:]
    assert found("source", mine[1]) == [mine[1]]
    assert found("source", f"files__default: {empty}") == []
    chat: dict[str, Any] = {"scopeType": "source", "scopeList": [f"files__default: {empty}"]}
    answer = nextcloud.ended(nextcloud.schedule(CHAT, "alice", "What about the garden?", **chat))
    assert answer["output"] == {
        "output": "I found nothing about this in the documents you can read. Searched: chosen documents: 0.",
        "sources": [],
    }


def test_what_nextcloud_hides_is_not_used_although_it_is_indexed(nextcloud: Nextcloud, program: Program) -> None:
    before = set(nextcloud.do("readable_by", user="alice"))
    nextcloud.fault("GET", "/queues/actions", "status", times=1000, value=503)  # the revocation does not arrive
    (shed,) = before - set(nextcloud.do("readable_by", user="bob")) - {"deck__cards: 7"}
    number = int(shed.removeprefix("files__default: "))
    nextcloud.do("unshare", file_id=number, users=["alice"])

    found = nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden shed"))
    nextcloud.ended(nextcloud.schedule(CHAT, "alice", "How is the garden shed painted?"))

    assert set(ids(found)) == before - {shed}
    (scheduled,) = nextcloud.calls("POST", "/taskprocessing/schedule")
    assert "painted green" not in scheduled["parameters"]["input"]["input"]
    nextcloud.forget()
    text = "The garden shed is painted green."
    nextcloud.do("put_file", path="Plans/shed.md", readers=["alice"], text=text, file_id=number)
    nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, program, ["alice"]))


def test_where_rights_are_not_checked_with_nextcloud_those_of_the_index_decide(
    storage: Path, database_url: str
) -> None:
    with (
        Nextcloud() as nextcloud,
        installed(nextcloud, storage, database_url, more="check_rights_with_nextcloud: false\n") as program,
    ):
        nextcloud.do("add_users", names=["alice"])
        number = int(nextcloud.do("put_file", path="shed.md", readers=["alice"], text="the garden shed"))
        register(nextcloud, program)
        nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, program, ["alice"]))
        nextcloud.fault("GET", "/queues/actions", "status", times=1000, value=503)  # the revocation does not arrive
        nextcloud.do("unshare", file_id=number, users=["alice"])

        assert ids(nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden shed"))) == [f"files__default: {number}"]

        nextcloud.forget()
        program.client.post("/trigger")
        nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, program, ["alice"]))
        assert ids(nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden shed"))) == []


def test_a_failing_description_costs_no_answer(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.fault("POST", "/enrich_sources", "status", value=500)

    (source,) = sources(nextcloud.ended(nextcloud.schedule(SEARCH, "bob", "garden")))

    assert source | {"id": ""} == {"id": "", "label": "pond.md", "icon": "", "url": ""}


@pytest.mark.parametrize(
    ("kind", "value"), [("lost", 0), ("drop", 0), ("status", 500), ("status", 429), ("status", 412)]
)
def test_a_result_is_told_until_nextcloud_has_it(nextcloud: Nextcloud, program: Program, kind: str, value: int) -> None:
    nextcloud.fault("POST", "/result", kind, value=value)

    task = nextcloud.ended(nextcloud.schedule(SEARCH, "bob", "garden"))

    assert len(ids(task)) == 1
    assert nextcloud.faults_left() == []


def test_a_result_survives_the_end_of_the_program(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.fault("POST", "/result", "status", times=2, value=503)
    task = nextcloud.schedule(SEARCH, "bob", "garden")
    nextcloud.wait(lambda: nextcloud.faults_left()[0]["times"] == 1)
    program.stop(9)
    program.start(enable=False)

    assert len(ids(nextcloud.ended(task, 60))) == 1


def test_tasks_of_a_program_that_ended_are_closed(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.set_tasks(polls_until_written=1000)
    stopped = nextcloud.schedule(CHAT, "alice", "How is the garden?")
    nextcloud.wait(lambda: bool(nextcloud.calls("GET", "/taskprocessing/task/")))
    program.stop()
    assert nextcloud.task(stopped)["status"] == "STATUS_FAILED"

    program.start(enable=False)
    asked = len(nextcloud.calls("GET", "/taskprocessing/task/"))
    killed = nextcloud.schedule(CHAT, "alice", "How is the garden?")
    # By now it is written down here too: Nextcloud calls it running a moment before.
    nextcloud.wait(lambda: len(nextcloud.calls("GET", "/taskprocessing/task/")) > asked)
    program.stop(9)
    program.start(enable=False)

    assert nextcloud.ended(killed, 180)["status"] == "STATUS_FAILED"


def test_a_cancelled_task_stops_the_writing_too(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.set_tasks(polls_until_written=1000)
    task = nextcloud.schedule(CHAT, "alice", "How is the garden?")
    nextcloud.wait(lambda: bool(nextcloud.calls("GET", "/taskprocessing/task/")))

    nextcloud.cancel(task)

    nextcloud.wait(lambda: bool(nextcloud.calls("POST", "/cancel")))
    (cancelled,) = nextcloud.calls("POST", "/cancel")
    assert cancelled["user"] == "alice"
    assert nextcloud.calls("POST", f"/{task}/result") == []


def test_searches_do_not_wait_behind_answers(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.set_tasks(polls_until_written=1000)
    answers = [nextcloud.schedule(CHAT, "alice", "How is the garden?") for _ in range(5)]
    nextcloud.wait(lambda: sum(nextcloud.task(one)["status"] == "STATUS_RUNNING" for one in answers) == 4)

    assert len(ids(nextcloud.ended(nextcloud.schedule(SEARCH, "bob", "garden")))) == 1
    assert nextcloud.task(answers[4])["status"] == "STATUS_SCHEDULED"


def test_a_task_that_is_cancelled_while_it_waits_is_never_begun(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.set_tasks(polls_until_written=1000)
    answers = [nextcloud.schedule(CHAT, "alice", "How is the garden?") for _ in range(6)]
    nextcloud.wait(lambda: sum(nextcloud.task(one)["status"] == "STATUS_RUNNING" for one in answers) == 4)

    nextcloud.cancel(answers[4])
    nextcloud.cancel(answers[0])
    nextcloud.wait(lambda: nextcloud.task(answers[5])["status"] == "STATUS_RUNNING")

    assert nextcloud.task(answers[4])["status"] == "STATUS_CANCELLED"
    assert nextcloud.task(answers[4])["startedAt"] is None


def test_a_task_that_is_cancelled_while_the_rate_limit_is_waited_for_schedules_nothing(
    nextcloud: Nextcloud, program: Program
) -> None:
    nextcloud.fault("POST", "/taskprocessing/schedule", "status", times=1000, value=429)
    task = nextcloud.schedule(CHAT, "alice", "How is the garden?")
    nextcloud.wait(lambda: nextcloud.task(task)["status"] == "STATUS_RUNNING")
    left = nextcloud.faults_left()[0]["times"]
    nextcloud.wait(lambda: nextcloud.faults_left()[0]["times"] < left)

    nextcloud.cancel(task)
    nextcloud.wait(lambda: bool(nextcloud.calls("POST", f"/{task}/progress")))
    nextcloud.forget()
    after = nextcloud.ended(nextcloud.schedule(CHAT, "bob", "How deep is the pond in the garden?"))

    assert after["status"] == "STATUS_SUCCESSFUL"
    assert [call["user"] for call in nextcloud.calls("POST", "/taskprocessing/schedule")] == ["bob"]
    assert nextcloud.calls("POST", f"/{task}/result") == []


def test_tasks_without_a_trigger_are_found_too(nextcloud: Nextcloud, program: Program) -> None:
    asked = [nextcloud.schedule(SEARCH, "bob", "garden", trigger=False) for _ in range(6)]

    assert all(len(ids(nextcloud.ended(task))) == 1 for task in asked)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"prompt": " "}, "prompt"), ({"limit": "many"}, "limit"), ({"scopeType": "planet"}, "scopeType"),
     ({"scopeType": "provider"}, "scopeList"), ({"scopeType": "provider", "scopeList": "deck"}, "scopeList")],
)  # fmt: skip
def test_a_task_that_makes_no_sense_fails_with_its_reason(
    nextcloud: Nextcloud, program: Program, wrong: dict[str, Any], says: str
) -> None:
    task = nextcloud.ended(nextcloud.schedule(SEARCH, "alice", **{"prompt": "garden"} | wrong))

    assert task["status"] == "STATUS_FAILED"
    assert says in task["errorMessage"]
    assert task["shown"] == task["errorMessage"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"writes": None}, "administrator"), ({"final_status": "STATUS_FAILED"}, "failed"),
     ({"final_status": "STATUS_CANCELLED"}, "cancelled")],
)  # fmt: skip
def test_when_nextcloud_does_not_write_the_user_is_told_why(
    nextcloud: Nextcloud, program: Program, changes: dict[str, Any], says: str
) -> None:
    nextcloud.set_tasks(**changes)

    task = nextcloud.ended(nextcloud.schedule(CHAT, "alice", "How is the garden?"))

    assert task["status"] == "STATUS_FAILED"
    assert says in task["shown"]


@pytest.mark.parametrize(
    ("method", "path", "kind", "value"),
    [("POST", "/schedule", "status", 500), ("POST", "/schedule", "status", 429), ("GET", "/task/", "status", 503),
     ("GET", "/task/", "drop", 0), ("GET", "/task/", "slow", 1)],
)  # fmt: skip
def test_trouble_while_nextcloud_writes_is_waited_out(
    nextcloud: Nextcloud, program: Program, method: str, path: str, kind: str, value: int
) -> None:
    nextcloud.fault(method, f"taskprocessing{path}", kind, value=value)

    task = nextcloud.ended(nextcloud.schedule(CHAT, "bob", "How deep is the pond in the garden?"))

    assert len(ids(task)) == 1


def test_providers_come_and_go_with_the_app_and_follow_the_companion(nextcloud: Nextcloud, program: Program) -> None:
    def offered() -> set[str]:
        return set(nextcloud.get("/tasks")["registered"])

    assert offered() == PROVIDERS
    assert nextcloud.order("disable")
    assert offered() == set()
    nextcloud.do("set_companion", model="push")
    assert nextcloud.order("enable")
    assert offered() == set()
    nextcloud.do("set_companion", model="pull")
    assert nextcloud.order("enable")
    assert offered() == PROVIDERS


def test_an_app_whose_providers_are_refused_says_so_when_it_is_enabled(nextcloud: Nextcloud, program: Program) -> None:
    assert nextcloud.order("disable")
    nextcloud.fault("POST", "/task_processing", "status", value=500)

    assert not nextcloud.order("enable")

    call = nextcloud.get("/app")["calls"][-1]
    assert "task providers" in call["body"]["error"]
    assert program.client.get("/enabled").json() == {"enabled": False}


def test_tasks_in_work_are_answered_when_the_app_is_disabled(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.set_tasks(polls_until_written=1000)
    task = nextcloud.schedule(CHAT, "alice", "How is the garden?")
    nextcloud.wait(lambda: nextcloud.task(task)["status"] == "STATUS_RUNNING")

    assert nextcloud.order("disable")

    assert nextcloud.task(task)["status"] == "STATUS_FAILED"


@pytest.mark.parametrize("fault", [("status", 412), ("status", 429), ("status", 500), ("lost", 0), ("slow", 2)])
def test_tasks_are_fetched_again_after_trouble(nextcloud: Nextcloud, program: Program, fault: tuple[str, int]) -> None:
    nextcloud.fault("GET", "/tasks_provider/next", fault[0], times=3, value=fault[1])

    assert len(ids(nextcloud.ended(nextcloud.schedule(SEARCH, "bob", "garden")))) == 1
