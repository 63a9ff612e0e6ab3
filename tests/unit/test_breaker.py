# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("the model", tolerated=2, first_pause=5.0, longest_pause=15.0, clock=clock)


def fail(breaker: Breaker, said: str = "status 500") -> str:
    """What is said to whoever tries a model that is down."""
    with pytest.raises(ModelUnavailable) as caught, breaker.attempt():
        raise ModelUnavailable(said)
    return str(caught.value)


def succeed(breaker: Breaker) -> None:
    with breaker.attempt():
        pass


def test_a_few_failures_are_tolerated(breaker: Breaker) -> None:
    assert [fail(breaker) for _ in range(3)] == ["status 500"] * 3


def test_after_more_of_them_nobody_is_let_through_for_a_while(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        fail(breaker)
    clock.now += 4.0

    assert fail(breaker, "not reached") == "the model is left alone for 1 s: status 500"


def test_the_pause_doubles_up_to_its_limit(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        fail(breaker)
    pauses = []
    for _ in range(4):
        start = clock.now
        while "left alone" in fail(breaker):
            clock.now += 1.0
        pauses.append(clock.now - start)

    assert pauses == [5.0, 10.0, 15.0, 15.0]


def test_one_success_ends_it(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        fail(breaker)
    clock.now += 5.0
    succeed(breaker)

    assert [fail(breaker) for _ in range(3)] == ["status 500"] * 3


def test_after_a_pause_one_tries_while_the_others_wait(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        fail(breaker)
    clock.now += 5.0
    with breaker.attempt():
        assert "left alone" in fail(breaker)
    succeed(breaker)


def test_what_says_nothing_about_the_model_is_no_failure_and_blocks_nobody(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        fail(breaker)
    clock.now += 5.0
    with pytest.raises(ValueError), breaker.attempt():
        raise ValueError
    succeed(breaker)
