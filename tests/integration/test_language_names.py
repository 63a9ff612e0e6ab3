# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import psycopg

from context_chat_backend.language import _CONFIGURATIONS, SIMPLE

NOT_BEFORE_18 = {"estonian"}
"""Text search configurations a database of version 15 to 17 does not have."""


def test_postgresql_has_every_configuration_that_may_be_named(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        known = {name for (name,) in connection.execute("SELECT cfgname FROM pg_ts_config").fetchall()}

    named = {*_CONFIGURATIONS.values(), SIMPLE}
    assert named == known - NOT_BEFORE_18
