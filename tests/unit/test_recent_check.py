# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model is checked once in a while, however many want to know."""

from __future__ import annotations

import asyncio

from context_chat_backend.errors import ModelFailure, ModelUnavailable
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.wiring.recent_check import RecentCheck


class Checked(ExtractiveModel):
    """Is loading when it is asked first, and well then."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1
        first = self.checks == 1
        await asyncio.sleep(0)
        if first:
            raise ModelUnavailable("it is being loaded", ModelFailure.LOADING)


async def test_many_share_one_check_until_it_is_old() -> None:
    model, now = Checked(), [0.0]
    check = RecentCheck(model, clock=lambda: now[0])

    assert await asyncio.gather(*(check.failure() for _ in range(20))) == [ModelFailure.LOADING] * 20
    assert model.checks == 1
    now[0] = 4.0
    assert await check.failure() == ModelFailure.LOADING
    now[0] = 6.0
    assert await check.failure() is None
    assert model.checks == 2
