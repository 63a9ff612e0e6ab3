# SPDX-License-Identifier: AGPL-3.0-or-later
"""The embedded database goes from one major version of PostgreSQL to the next, and no start loses sight of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from context_chat_backend.config import load
from context_chat_backend.errors import StartError
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import DATABASE, ROLE, EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.wiring.backups import carry_over
from tests import old_cluster
from tests.integration.test_backup import answers, fill

ROOT = Path(__file__).resolve().parents[2]
CARRY = (
    "import asyncio, sys, pathlib\nfrom context_chat_backend.config import load\n"
    "from context_chat_backend.wiring.backups import carry_over\n"
    "config = load({'APP_PERSISTENT_STORAGE': sys.argv[1]}, cores=1)\n"
    "asyncio.run(carry_over(config, None, lambda what: print(what, flush=True)))"
)


async def earlier_index(storage: Path) -> dict[str, object]:
    """A storage whose embedded database is of an earlier major version; returns what users find in it."""
    data = storage / f"postgres{old_cluster.EARLIER}"
    old_cluster.make_cluster(data)
    async with old_cluster.running(data, DATABASE) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'old'")
            connection.execute(f"ALTER DATABASE {DATABASE} OWNER TO {ROLE}")
        url = url.replace("postgres@", f"{ROLE}@")
        await install_schema(url)
        database = Database(url)
        await database.open()
        await fill(database, url, sources=30)
        await database.close()
        return dict(await answers(url))


async def test_an_index_of_an_earlier_postgresql_is_carried_over_whole(storage: Path) -> None:
    before = await earlier_index(storage)
    config = load({"APP_PERSISTENT_STORAGE": str(storage)}, cores=1)
    with pytest.raises(StartError, match=r"postgres16 holds the index.*context-chat upgrade-database"):
        await EmbeddedPostgres(storage).start()
    assert not (storage / "postgres18").exists()

    # A run that is killed while it writes, then another one.
    process = subprocess.Popen([sys.executable, "-c", CARRY, str(storage)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(line.startswith("writing words") for line in process.stdout)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with pytest.raises(StartError, match="upgrade-database"):
        await EmbeddedPostgres(storage).start()
    carried = await carry_over(config, None, lambda _: None)

    assert carried is not None
    assert carried.kept == storage / "postgres16.before-18"
    assert (carried.kept / "PG_VERSION").read_text().strip() == "16"
    assert not (storage / "upgrade.backup").exists()
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        assert await answers(url) == before
        with psycopg.connect(url) as connection:
            assert connection.info.server_version // 10_000 == 18
            assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
                False,
            )
    finally:
        await server.stop()
    assert await carry_over(config, None, lambda _: None) is None


async def test_programs_that_are_missing_are_asked_for(storage: Path) -> None:
    (storage / "postgres11").mkdir()
    (storage / "postgres11" / "PG_VERSION").write_text("11\n")
    config = load({"APP_PERSISTENT_STORAGE": str(storage)}, cores=1)

    with pytest.raises(StartError, match=r"written by PostgreSQL 11, and its programs are not here.*--postgres"):
        await carry_over(config, None, lambda _: None)
    with pytest.raises(StartError, match=r"its programs are not in /usr/nowhere"):
        await carry_over(config, Path("/usr/nowhere"), lambda _: None)
    assert (storage / "postgres11").is_dir()


async def test_an_external_database_is_not_ours_to_upgrade(storage: Path) -> None:
    config = load({"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": "postgresql://db/x"}, cores=1)

    with pytest.raises(StartError, match="whoever runs it"):
        await carry_over(config, None, lambda _: None)
