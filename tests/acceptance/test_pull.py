# SPDX-License-Identifier: AGPL-3.0-or-later
"""From registration to search with a companion of 5.4: what lies in the queues is indexed, by whom it may be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import agree, installed, register
from tests.nextcloud_double.process import Nextcloud
from tests.program import Program

DOCUMENTS = "/queues/documents"
ACTIONS = "/queues/actions"
USERS = ["alice", "bob", "carol"]


@pytest.fixture
def nextcloud() -> Iterator[Nextcloud]:
    with Nextcloud() as running:
        running.do("add_users", names=USERS)
        yield running


@pytest.fixture
def program(nextcloud: Nextcloud, storage: Path, database_url: str) -> Iterator[Program]:
    with installed(nextcloud, storage, database_url) as running:
        yield running


def put(nextcloud: Nextcloud, name: str, readers: list[str], text: str = "the garden", **more: object) -> int:
    return int(nextcloud.do("put_file", path=f"{name}.txt", readers=readers, text=text, **more))


def quiet(nextcloud: Nextcloud, program: Program, seconds: float = 60) -> None:
    """Until the queues are empty and everybody finds what is his; a trigger saves the pause between two looks."""
    program.client.post("/trigger")
    nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, program, USERS), seconds)


def test_files_and_content_are_indexed_for_their_readers_and_acknowledged(
    nextcloud: Nextcloud, program: Program
) -> None:
    put(nextcloud, "shared", ["alice", "bob"])
    nextcloud.do("submit", provider="mail__messages", item="12:34", title="Mail", content="a garden", readers=["bob"])
    register(nextcloud, program)

    quiet(nextcloud, program)

    assert program.post("/countIndexedDocuments") == {"files__default": 1, "mail__messages": 1}
    (acknowledged,) = [c["parameters"] for c in nextcloud.calls("DELETE", DOCUMENTS)]
    assert acknowledged | {"format": ""} == {"files": [1], "content_providers": [1], "format": ""}


def test_actions_take_effect_in_their_order_and_wrong_ones_hold_up_no_other(
    nextcloud: Nextcloud, program: Program
) -> None:
    shared, deleted = put(nextcloud, "shared", ["alice"]), put(nextcloud, "deleted", ["alice", "bob"])
    nextcloud.do("submit", provider="deck__cards", item="1", title="Card", content="garden", readers=["alice", "bob"])
    register(nextcloud, program)
    quiet(nextcloud, program)

    nextcloud.do("share", file_id=shared, users=["bob", "carol"])
    nextcloud.do("enqueue_action", kind="update_access_source_id", payload={"op": "perhaps"})
    nextcloud.do("enqueue_action", kind="nobody_knows", payload=None)
    nextcloud.do("enqueue_action", kind="delete_provider_id", payload={"providerId": "cards"})
    nextcloud.do("unshare", file_id=shared, users=["bob"])
    nextcloud.do("delete_file", file_id=deleted)
    nextcloud.do("share_provider", provider="deck__cards", op="deny", users=["alice"])
    nextcloud.do("delete_user", user="carol")

    quiet(nextcloud, program)


def test_each_document_is_judged_on_its_own(nextcloud: Nextcloud, program: Program) -> None:
    good = put(nextcloud, "good", ["alice"])
    wrongs: list[dict[str, object]] = [
        {"userIds": []}, {"reference": "files__default: x"}, {"modified": "soon"}, {"provider": "mail__messages"},
        {"type": None}, {"title": 7}, {"size": 200_000_000}, {"type": "audio/mpeg"},
    ]  # fmt: skip
    for wrong in wrongs:
        right = {
            "userIds": ["alice"], "reference": "files__default: 9", "title": "files/a.txt", "content": None,
            "modified": 1718000000, "type": "text/plain", "provider": "files__default", "size": 10,
        }  # fmt: skip
        nextcloud.do("enqueue_document", queue="files", payload=right | wrong)
    register(nextcloud, program)

    quiet(nextcloud, program)

    assert program.search("alice", "garden") == [f"files__default: {good}"]


def test_a_file_is_fetched_in_the_name_of_whoever_may_read_it_and_in_its_newest_state(
    nextcloud: Nextcloud, program: Program
) -> None:
    stale = put(nextcloud, "stale", ["alice", "bob"])
    nextcloud.do("fail_file", file_id=stale, user="alice", status=404)
    changed = put(nextcloud, "changed", ["alice"], "an old shed")
    nextcloud.do("change_file_silently", file_id=changed, text="a garden with a pond, newer than its listing")
    put(nextcloud, "unscanned", ["alice"], size=-1)
    register(nextcloud, program)

    quiet(nextcloud, program)

    assert program.search("alice", "pond", limit=1) == [f"files__default: {changed}"]
    downloads = nextcloud.calls("GET", "/files/")
    assert {call["headers"]["accept-encoding"] for call in downloads} == {"identity"}


def test_a_download_that_breaks_off_or_ends_early_is_begun_anew(nextcloud: Nextcloud, program: Program) -> None:
    put(nextcloud, "long", ["alice"], "many words about the garden, and at its very end a pond")
    for kind in ("cut", "short", "drop"):
        nextcloud.fault("GET", "/files/", kind)
    register(nextcloud, program)

    nextcloud.wait(lambda: program.search("alice", "pond") != [])

    assert nextcloud.faults_left() == []


def test_what_cannot_be_opened_now_is_opened_later(nextcloud: Nextcloud, program: Program) -> None:
    put(nextcloud, "locked", ["alice"])
    nextcloud.fault("GET", "/files/", "status", times=2, value=422)
    nextcloud.fault("GET", "/files/", "status", value=503)
    register(nextcloud, program)

    quiet(nextcloud, program)


@pytest.mark.parametrize("kind", ["drop", "empty", "not_utf8"])
def test_rows_of_a_lost_answer_come_back_after_a_day_and_few_are_asked_for_until_then(
    nextcloud: Nextcloud, program: Program, kind: str
) -> None:
    nextcloud.fault("GET", DOCUMENTS, kind)
    put(nextcloud, "lost", ["alice"])
    register(nextcloud, program)
    nextcloud.wait(lambda: len(nextcloud.calls("GET", DOCUMENTS)) > 2)

    sizes = [int(call["parameters"]["n"]) for call in nextcloud.calls("GET", DOCUMENTS)]
    nextcloud.do("move_clock", seconds=86_401)

    assert sizes[1] == 1 < sizes[0]
    quiet(nextcloud, program)


@pytest.mark.parametrize(("kind", "value"), [("drop", 0), ("lost", 0), ("status", 429), ("status_after", 500)])
def test_acknowledgements_are_repeated_until_they_arrive(
    nextcloud: Nextcloud, program: Program, kind: str, value: int
) -> None:
    for path in (DOCUMENTS, ACTIONS):
        nextcloud.fault("DELETE", path, kind, value=value)
    put(nextcloud, "file", ["alice"])
    nextcloud.do("enqueue_action", kind="delete_user_id", payload={"userId": "mallory"})
    register(nextcloud, program)

    quiet(nextcloud, program)

    nextcloud.wait(lambda: nextcloud.faults_left() == [])


def test_a_late_action_does_not_undo_a_newer_one(nextcloud: Nextcloud, program: Program) -> None:
    secret = put(nextcloud, "secret", ["alice", "bob"])
    register(nextcloud, program)
    quiet(nextcloud, program)
    nextcloud.fault("GET", ACTIONS, "drop")
    nextcloud.do("share", file_id=secret, users=["carol"])
    nextcloud.wait(lambda: nextcloud.faults_left() == [])

    nextcloud.do("unshare", file_id=secret, users=["carol"])
    nextcloud.wait(lambda: nextcloud.do("queue_lengths")["actions"] == 1)
    nextcloud.do("move_clock", seconds=86_401)

    quiet(nextcloud, program)
    assert program.search("carol", "garden") == []


def test_a_stale_list_does_not_bring_back_a_reader_who_was_taken_away(nextcloud: Nextcloud, program: Program) -> None:
    """Content lies in its queue with the readers of its submission; the revocation is read before it."""
    card = {"provider": "deck__cards", "item": "1", "title": "Card", "content": "garden", "readers": ["alice", "bob"]}
    nextcloud.do("submit", **card)
    register(nextcloud, program)
    quiet(nextcloud, program)

    nextcloud.fault("GET", DOCUMENTS, "status", times=3, value=503)
    nextcloud.do("submit", **card)
    nextcloud.do("declare_readers", ref="deck__cards: 1", users=["alice"])

    quiet(nextcloud, program)
    assert program.search("bob", "garden") == []


@pytest.mark.slow  # it waits for a lease to end
def test_nothing_is_lost_when_the_program_is_killed_or_nextcloud_is_down(
    nextcloud: Nextcloud, program: Program
) -> None:
    register(nextcloud, program)
    for n in range(60):
        put(nextcloud, f"file{n}", ["alice"])
    nextcloud.wait(lambda: len(nextcloud.calls("GET", "/files/")) > 5)
    program.stop(9)
    program.start(enable=False)
    nextcloud.fault("GET", "", "status", times=20, value=503)

    quiet(nextcloud, program, 150)  # what the killed process had claimed is due when its lease ends


def test_the_companion_is_updated_while_we_run(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.do("set_companion", model="push")
    register(nextcloud, program)
    put(nextcloud, "file", ["alice"])
    assert nextcloud.calls("GET", DOCUMENTS) == []

    nextcloud.do("set_companion", model="pull")
    nextcloud.order("enable")

    quiet(nextcloud, program)


def test_a_disabled_app_takes_nothing_in(nextcloud: Nextcloud, program: Program) -> None:
    register(nextcloud, program)
    quiet(nextcloud, program)
    assert nextcloud.order("disable")
    put(nextcloud, "file", ["alice"])
    asked = len(nextcloud.calls("GET", DOCUMENTS))

    assert nextcloud.order("enable")

    quiet(nextcloud, program)
    assert asked < len(nextcloud.calls("GET", DOCUMENTS))


def test_a_change_between_listing_and_acknowledgement_is_not_lost(nextcloud: Nextcloud, program: Program) -> None:
    """The queue takes no second row for a file that is leased; bytes are fetched after the acknowledgement."""
    plan = put(nextcloud, "plan", ["alice"], "the garden and a shed")
    nextcloud.fault("DELETE", DOCUMENTS, "slow", value=2)
    register(nextcloud, program)
    nextcloud.wait(lambda: bool(nextcloud.calls("DELETE", DOCUMENTS)))
    assert nextcloud.calls("GET", "/files/") == []

    put(nextcloud, "plan", ["alice"], "the garden and a pond", file_id=plan)

    nextcloud.wait(lambda: program.search("alice", "pond") != [])
    quiet(nextcloud, program)


def test_two_changes_within_one_second_are_both_seen(nextcloud: Nextcloud, program: Program) -> None:
    now = int(time.time())
    plan = put(nextcloud, "plan", ["alice"], "the garden and a shed", modified=now)
    register(nextcloud, program)
    quiet(nextcloud, program)

    put(nextcloud, "plan", ["alice"], "the garden and a pond", modified=now, file_id=plan)

    quiet(nextcloud, program)
    nextcloud.wait(lambda: nextcloud.calls("GET", "/files/")[1:] != [])


def test_an_action_that_comes_late_still_holds_for_those_whom_newer_ones_did_not_name(
    nextcloud: Nextcloud, program: Program
) -> None:
    plan = put(nextcloud, "plan", ["alice", "bob"])
    register(nextcloud, program)
    quiet(nextcloud, program)
    nextcloud.fault("GET", ACTIONS, "drop")
    nextcloud.do("unshare", file_id=plan, users=["bob"])
    nextcloud.wait(lambda: nextcloud.faults_left() == [])

    nextcloud.do("share", file_id=plan, users=["carol"])
    nextcloud.wait(lambda: program.search("carol", "garden") != [])
    nextcloud.do("move_clock", seconds=86_401)

    quiet(nextcloud, program)
    assert program.search("bob", "garden") == []


def test_content_that_comes_late_brings_back_nobody_from_whom_it_was_taken_meanwhile(
    nextcloud: Nextcloud, program: Program
) -> None:
    register(nextcloud, program)
    quiet(nextcloud, program)
    nextcloud.fault("GET", DOCUMENTS, "drop")
    card = {"provider": "deck__cards", "item": "1", "title": "Card", "content": "garden", "readers": ["alice", "bob"]}
    nextcloud.do("submit", **card)
    nextcloud.wait(lambda: nextcloud.faults_left() == [])

    nextcloud.do("change_item", ref="deck__cards: 1", op="deny", users=["bob"])
    nextcloud.wait(lambda: nextcloud.do("queue_lengths")["actions"] == 0)
    asked = len(nextcloud.calls("GET", DOCUMENTS))
    nextcloud.wait(lambda: len(nextcloud.calls("GET", DOCUMENTS)) > asked + 1)
    nextcloud.do("move_clock", seconds=86_401)

    quiet(nextcloud, program)
    assert program.search("alice", "garden") == ["deck__cards: 1"]
    assert program.search("bob", "garden") == []


def test_a_source_whose_last_known_reader_goes_is_still_there_for_one_whose_grant_comes_late(
    nextcloud: Nextcloud, program: Program
) -> None:
    plan = put(nextcloud, "plan", ["alice"])
    register(nextcloud, program)
    quiet(nextcloud, program)
    nextcloud.fault("GET", ACTIONS, "drop")
    nextcloud.do("share", file_id=plan, users=["bob"])
    nextcloud.wait(lambda: nextcloud.faults_left() == [])

    nextcloud.do("unshare", file_id=plan, users=["alice"])
    nextcloud.wait(lambda: program.search("alice", "garden") == [])
    nextcloud.do("move_clock", seconds=86_401)

    quiet(nextcloud, program)
    assert program.search("bob", "garden") == [f"files__default: {plan}"]


def test_a_file_nobody_known_could_open_is_fetched_once_a_new_reader_is_known(
    nextcloud: Nextcloud, program: Program
) -> None:
    """Its readers are exchanged after it was listed, and that is heard of after the download in the old one's name."""
    register(nextcloud, program)
    quiet(nextcloud, program)
    nextcloud.fault("GET", "/files/", "status", value=422)
    plan = put(nextcloud, "plan", ["alice"])
    nextcloud.wait(lambda: nextcloud.faults_left() == [])

    nextcloud.fault("GET", ACTIONS, "status", times=3, value=503)
    nextcloud.do("declare_readers", ref=f"files__default: {plan}", users=["bob"])
    nextcloud.wait(lambda: len(nextcloud.calls("GET", "/files/")) > 1)

    quiet(nextcloud, program)
    assert program.search("bob", "garden") == [f"files__default: {plan}"]


def test_no_more_is_taken_in_than_may_wait_while_actions_go_on(
    nextcloud: Nextcloud, storage: Path, database_url: str
) -> None:
    with installed(nextcloud, storage, database_url, more="waiting_sources_limit: 40\n") as program:
        register(nextcloud, program)
        quiet(nextcloud, program)
        nextcloud.fault("GET", "/files/", "status", times=100_000, value=503)
        texts = [{"path": f"{n}.txt", "readers": ["alice"], "text": "garden"} for n in range(300)]
        files = nextcloud.do("put_files", files=texts)
        nextcloud.do("share", file_id=files[0], users=["bob"])
        nextcloud.wait(lambda: nextcloud.do("queue_lengths")["files"] < 300)
        turns = len(nextcloud.calls("GET", ACTIONS))
        nextcloud.do("unshare", file_id=files[0], users=["bob"])
        nextcloud.wait(lambda: len(nextcloud.calls("GET", ACTIONS)) > turns + 3)

        assert nextcloud.do("queue_lengths") == {"files": 300 - 64, "content_providers": 0, "actions": 0}

        nextcloud.forget()
        quiet(nextcloud, program, 120)


def test_a_source_that_has_no_readers_for_a_moment_is_still_there(nextcloud: Nextcloud, program: Program) -> None:
    """As when its readers were listed after some of these actions: they are applied to what they led to."""
    plan, gone = put(nextcloud, "plan", ["alice"]), put(nextcloud, "gone", ["alice"])
    register(nextcloud, program)
    quiet(nextcloud, program)

    nextcloud.fault("GET", ACTIONS, "status", times=2, value=503)
    nextcloud.do("unshare", file_id=plan, users=["alice"])
    nextcloud.do("unshare", file_id=gone, users=["alice"])
    nextcloud.do("delete_user", user="carol")  # an action on many sources stands alone between two batches
    nextcloud.do("share", file_id=plan, users=["alice"])

    quiet(nextcloud, program)
    assert program.search("alice", "garden") == [f"files__default: {plan}"]
    nextcloud.wait(lambda: program.post("/countIndexedDocuments") == {"files__default": 1})
