# SPDX-License-Identifier: AGPL-3.0-or-later
"""The oracle finds each kind of fault it is there to find."""

from __future__ import annotations

import time

from tests.town import Oracle

REF = "files__default: 1"


def judged(oracle: Oracle, user: str, found: list[str]) -> list[str]:
    return oracle.judge(user, found, time.monotonic(), oracle.expected(user))


def test_what_was_never_granted_is_a_leak() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["alice"])

    assert judged(oracle, "alice", [REF]) == []
    assert judged(oracle, "bob", [REF]) == [f"bob was given {REF}"]


def test_what_was_lost_may_be_given_until_the_acknowledgement_and_by_searches_that_began_before() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["alice", "bob"])
    lost = oracle.revoke(REF, ["bob"])
    before = time.monotonic()
    assert judged(oracle, "bob", [REF]) == []

    oracle.acknowledged(lost)

    assert oracle.judge("bob", [REF], before, set()) == []
    assert judged(oracle, "bob", [REF]) == [f"bob was given {REF}"]


def test_a_loss_in_a_queue_is_acknowledged_when_the_queue_is_empty_and_a_new_grant_undoes_it() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["bob"])
    oracle.queued(oracle.revoke(REF, ["bob"]))
    assert judged(oracle, "bob", [REF]) == []
    oracle.acknowledged_when(lambda: False)
    assert judged(oracle, "bob", [REF]) == []
    oracle.acknowledged_when(lambda: True)
    assert judged(oracle, "bob", [REF]) != []

    oracle.grant(REF, ["bob"])

    assert judged(oracle, "bob", [REF]) == []


def test_a_loss_that_comes_into_a_queue_after_it_was_seen_empty_stands_there_still() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["bob"])

    def empty_and_then_one_comes() -> bool:
        oracle.queued(oracle.revoke(REF, ["bob"]))
        return True

    oracle.acknowledged_when(empty_and_then_one_comes)

    assert judged(oracle, "bob", [REF]) == []
    oracle.acknowledged_when(lambda: True)
    assert judged(oracle, "bob", [REF]) != []


def test_the_acknowledgement_of_an_earlier_loss_says_nothing_of_a_later_one() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["bob"])
    first = oracle.revoke(REF, ["bob"])
    oracle.grant(REF, ["bob"])
    second = oracle.revoke(REF, ["bob"])

    oracle.acknowledged(first)

    assert judged(oracle, "bob", [REF]) == []
    oracle.acknowledged(second)
    assert judged(oracle, "bob", [REF]) != []


def test_what_was_found_once_is_missed_until_it_is_lost() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["alice"])
    assert judged(oracle, "alice", []) == []
    oracle.all_found()
    assert judged(oracle, "alice", []) == [f"alice was not given {REF}"]

    oracle.forget(REF)

    assert judged(oracle, "alice", []) == []


def test_a_deleted_source_is_a_leak_and_its_text_is_looked_for() -> None:
    oracle = Oracle()
    oracle.grant(REF, ["alice"])
    oracle.texts[REF] = "garden version1x"
    oracle.acknowledged(oracle.forget(REF))

    assert judged(oracle, "alice", [REF]) == [f"alice was given {REF}"]
    assert oracle.gone_texts == {"garden version1x"}
