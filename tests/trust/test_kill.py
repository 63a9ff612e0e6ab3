# SPDX-License-Identifier: AGPL-3.0-or-later
"""The first seeds, which bring every fault to its turn; `make trust SEEDS=n` runs more, and makes a table of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import open_folder
from tests.trust.faults import FAULTS
from tests.trust.place import make_template
from tests.trust.trial import FIRST_SEEDS, plan, run_trial


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    folder = open_folder()
    make_template(folder)
    yield folder
    shutil.rmtree(folder)


def test_the_first_seeds_bring_every_fault_to_its_turn() -> None:
    assert {fault.name for seed in range(FIRST_SEEDS) for fault in plan(seed)[1]} == {fault.name for fault in FAULTS}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST_SEEDS))
def test_after_a_fault_nothing_is_lost_nothing_leaks_and_all_goes_on(template: Path, seed: int) -> None:
    trial = run_trial(seed, template)
    if trial.skipped:
        pytest.skip(trial.skipped)
    assert trial.failures == []
