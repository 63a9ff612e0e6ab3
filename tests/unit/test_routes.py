# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every route of every listener stands in the table of who may call it (tests/doors.py)."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from fastapi import FastAPI

from context_chat_backend import config
from context_chat_backend.settings.listeners import SURFACES
from context_chat_backend.web.app import build_app
from context_chat_backend.wiring import Backend
from tests.doors import DOORS, routes_at, routes_of

LISTENERS = [named for count in (1, 2, len(SURFACES)) for named in combinations(SURFACES, count)]


def app(folder: Path, *surfaces: str) -> FastAPI:
    return build_app(Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=1)), surfaces=surfaces)


@pytest.mark.parametrize("surfaces", LISTENERS, ids=" ".join)
def test_every_route_of_a_listener_stands_in_the_table(tmp_path: Path, surfaces: tuple[str, ...]) -> None:
    served = set(routes_of(app(tmp_path, *surfaces)))

    assert served - set(DOORS) == set()
    assert served == set().union(*(routes_at(surface) for surface in surfaces))


def test_the_table_names_no_route_that_is_not_there(tmp_path: Path) -> None:
    assert set(DOORS) == set(routes_of(app(tmp_path, *SURFACES)))


def test_a_route_without_an_entry_is_seen(tmp_path: Path) -> None:
    served = app(tmp_path, "nextcloud")
    served.add_api_route("/everything", lambda: "text of everybody")

    with pytest.raises(AssertionError):
        list(routes_of(served))
