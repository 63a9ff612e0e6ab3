# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server of models, for the tests of those who speak to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model_double.client import ModelDouble, running_double


@pytest.fixture(scope="module")
def running() -> Iterator[ModelDouble]:
    with running_double() as double:
        yield double


@pytest.fixture
def double(running: ModelDouble) -> ModelDouble:
    running.script()
    running.be()
    running.index()
    return running
