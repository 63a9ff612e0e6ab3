# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passages before a prompt: those the caller brings, as many as fit, and none he has lost meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from context_chat_backend.domain import Passage, Principal
from context_chat_backend.web.callers import NOBODY
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.gathered import LARGEST_SHARE, LEAST_SHARE, Gathered, share_of
from context_chat_backend.web.given import Bringing
from tests.language_contract import passage


class Index:
    """Knows which sources may not be read any more."""

    def __init__(self, *lost: str) -> None:
        self.lost_items = lost

    async def lost(self, asker: Principal, passages: Sequence[Passage]) -> bool:
        return any(one.source.item in self.lost_items for one in passages)


async def check(found: Gathered, index: Any) -> None:
    await found.check(index, NOBODY)


async def test_an_answer_from_a_source_that_was_lost_is_not_given() -> None:
    found = Gathered((passage("a", 1), passage("b", 2)))

    await check(found, Index("3"))
    with pytest.raises(ApiError) as caught:
        await check(found, Index("2"))
    assert (caught.value.status_code, caught.value.code) == (403, "source_lost")


async def test_what_the_caller_brings_is_his() -> None:
    brought = Bringing.model_validate({"context": ["my own words"]})
    found = Gathered(brought.given, None, brought.names)

    await check(found, Index("1"))
    assert found.sources == [{"id": "1", "title": "context 1", "score": None, "origin": "request"}]


def test_no_more_passages_are_put_before_a_chat_than_fit() -> None:
    found = Gathered((passage("first " * 10, 1), passage("second " * 500, 2)))
    said = found.in_words(200)

    assert "first" in said
    assert "second" not in said
    assert found.in_words(5) == ""


@pytest.mark.parametrize(
    ("context", "wanted", "share"),
    [(4096, 0, 2048), (16_384, 0, LARGEST_SHARE), (4096, 10, LEAST_SHARE), (4096, 300, 300), (4096, 9000, 2048)],
)
def test_passages_take_a_bounded_share_of_a_context(context: int, wanted: int, share: int) -> None:
    assert share_of(context, wanted) == share
