# SPDX-License-Identifier: AGPL-3.0-or-later
"""Random sources, readers and actions beside indexing, re-indexing, restarts and questions: nothing leaks, ever.

`CCB_SEEDS=100` runs a hundred seeds by hand; one runs in `make test`, twenty in `make test-all`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.installation import installed, register
from tests.nextcloud_double.process import Nextcloud
from tests.town import Town

SEEDS = int(os.environ.get("CCB_SEEDS", "20"))
SIZES = {"short": (40, 8, 150), "full": (200, 20, 2000)}
"""Sources, users, actions."""


@pytest.fixture
def town(storage: Path, database_url: str) -> Iterator[Callable[[int, str], Town]]:
    with Nextcloud() as nextcloud, installed(nextcloud, storage, database_url) as program:

        def build(seed: int, size: str) -> Town:
            register(nextcloud, program)
            sources, users, _ = SIZES[size]
            return Town(seed, nextcloud, program, sources=sources, users=users)

        yield build


def live(town: Town, size: str) -> None:
    actions = SIZES[size][2]
    town.begin()
    for step in range(actions):
        town.act()
        if step % 5 == 0:
            town.ask()
        if step % (actions // 3) == actions // 4:
            town.program.stop(town.random.choice([9, 15]))
            town.program.start(enable=False)
    town.comes_to_rest()


def test_nothing_leaks_and_after_quiet_nothing_is_missing(town: Callable[[int, str], Town]) -> None:
    live(town(0, "short"), "short")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a lease that a kill lost is waited for
@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_leaks_in_a_larger_town(town: Callable[[int, str], Town], seed: int) -> None:
    live(town(seed, "full"), "full")
