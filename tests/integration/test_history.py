# SPDX-License-Identifier: AGPL-3.0-or-later
"""Databases of earlier versions become today's, step by step; those of newer ones are left alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import context_chat_backend
from context_chat_backend.errors import ConfigurationError, DatabaseUnavailable, StartError
from context_chat_backend.store.embedded import ROLE, EmbeddedPostgres
from context_chat_backend.store.history import REPAIRS, install_schema, steps
from tests.schemas import catalogue, fixtures
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
FIRST = "repair5004_date20260101000000.sql"
SECOND = "repair5005_date20260201000000.sql"
THIRD = "repair5006_date20260301000000.sql"
NewDatabase = Callable[[], str]


@pytest.fixture
def new_database(postgres: EmbeddedPostgres) -> Iterator[NewDatabase]:
    """Makes empty databases that have the extension."""
    made: list[sql.Identifier] = []
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:

        def new() -> str:
            name = f"test_{uuid.uuid4().hex}"
            made.append(sql.Identifier(name))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(made[-1], sql.Identifier(ROLE)))
            superuser = psycopg.conninfo.make_conninfo(postgres.superuser_url, dbname=name)
            with psycopg.connect(superuser, autocommit=True) as inside:
                inside.execute("CREATE EXTENSION vector")
            return postgres.program_url(name)

        yield new
        for one in made:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(one))


def load(url: str, fixture: Path) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(fixture.read_text(encoding="utf-8"))


@pytest.fixture
def repairs(tmp_path: Path) -> Path:
    """A history of three steps, each of which adds a table."""
    for number, name in enumerate((FIRST, SECOND, THIRD), 1):
        (tmp_path / name).write_text(f"CREATE TABLE step_{number} (id integer);")
    return tmp_path


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'step\\_%'").fetchall()
    return {row[0] for row in rows}


def noted(url: str) -> dict[str, str]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT name, version FROM repair").fetchall())


@pytest.mark.parametrize("version", fixtures())
async def test_a_database_of_an_earlier_version_becomes_what_a_fresh_one_is(
    new_database: NewDatabase, version: str
) -> None:
    old, fresh = new_database(), new_database()
    load(old, fixtures()[version])

    await install_schema(old)
    await install_schema(fresh)

    found, wanted = catalogue(old), catalogue(fresh)
    assert found == wanted, (
        f"schema.sql has changed, and no step brings a database of {version} there. Write a step: "
        "./genrepair.sh <version> sql. While the version whose schema this is is not released: make the change in "
        f"its step in repairs/ too, then: python -m tests.schemas {context_chat_backend.__version__}\n"
        f"only in schema.sql: {sorted(wanted - found)}\nonly after the steps: {sorted(found - wanted)}"
    )
    assert set(noted(old)) == set(noted(fresh)) == {step.name for step in steps()}


async def test_the_schema_of_this_version_is_kept_as_it_will_be_released() -> None:
    assert context_chat_backend.__version__ in fixtures()


async def test_sources_and_their_state_survive_the_steps(new_database: NewDatabase) -> None:
    url = new_database()
    load(url, fixtures()["first"])
    with psycopg.connect(url) as connection:
        connection.execute("""
            INSERT INTO principal (realm, name, hash) VALUES ('nextcloud', 'alice', 7);
            INSERT INTO access_set (digest) VALUES (7);
            INSERT INTO access_member VALUES (1, 1);
            INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, state)
            VALUES ('nextcloud', 'files__default: 1', 'files__default', 'a', 'text/plain', 3, now(), 1, 'waiting'),
                ('nextcloud', 'files__default: 2', 'files__default', 'b', 'text/plain', 3, now(), 1, 'indexed');
            INSERT INTO embedding_space (model, dimension, question_prefix, passage_prefix, state)
            VALUES ('old', 3, '', '', 'live'), ('new', 3, '', '', 'answering');
        """)

    await install_schema(url)

    with psycopg.connect(url) as connection:
        states = connection.execute("SELECT ref, state::text, precedence > 0 FROM source ORDER BY ref").fetchall()
        spaces = connection.execute(
            "SELECT model, state, retired_at IS NULL FROM embedding_space ORDER BY id"
        ).fetchall()
    assert states == [("files__default: 1", "waiting", True), ("files__default: 2", "indexed", False)]
    assert spaces == [("old", "retired", False), ("new", "answering", True)]


async def test_a_fresh_database_needs_no_step_and_notes_them_all(new_database: NewDatabase, repairs: Path) -> None:
    url = new_database()

    assert await install_schema(url, repairs) == []
    assert tables(url) == set()
    assert noted(url) == dict.fromkeys((FIRST, SECOND, THIRD), context_chat_backend.__version__)


async def test_steps_run_in_order_once_and_only_those_that_are_missing(
    new_database: NewDatabase, repairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = new_database()
    earlier = tmp_path_factory.mktemp("earlier")
    shutil.copy(repairs / FIRST, earlier)
    await install_schema(url, earlier)

    assert await install_schema(url, repairs) == [SECOND, THIRD]
    assert tables(url) == {"step_2", "step_3"}
    assert await install_schema(url, repairs) == []


async def test_a_step_that_fails_leaves_nothing_behind_and_says_what_to_do(
    new_database: NewDatabase, repairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = new_database()
    await install_schema(url, tmp_path_factory.mktemp("none"))
    (repairs / SECOND).write_text("CREATE TABLE step_2 (id integer); SELECT nonsense();")

    with pytest.raises(StartError, match=rf"{SECOND} failed .*nonsense.*as it was.*restore a backup"):
        await install_schema(url, repairs)

    assert tables(url) == {"step_1"}
    assert set(noted(url)) == {FIRST}
    (repairs / SECOND).write_text("CREATE TABLE step_2 (id integer);")
    assert await install_schema(url, repairs) == [SECOND, THIRD]


async def test_a_step_that_was_killed_half_way_is_done_again(
    new_database: NewDatabase, repairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = new_database()
    await install_schema(url, tmp_path_factory.mktemp("none"))
    (repairs / SECOND).write_text("CREATE TABLE step_2 (id integer); SELECT pg_sleep(60);")
    code = (
        "import asyncio, sys, pathlib\nfrom context_chat_backend.store.history import install_schema\n"
        "asyncio.run(install_schema(sys.argv[1], pathlib.Path(sys.argv[2])))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url, str(repairs)], cwd=ROOT)
    with psycopg.connect(url, autocommit=True) as connection:
        sleeping = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        until(lambda: connection.execute(sleeping).fetchone())
        row = connection.execute(sleeping).fetchone()
        assert row is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(psycopg.Error):  # the server notices a dead client when it has slept
            connection.execute("SELECT pg_terminate_backend(%s)", (row[0],))
    assert tables(url) == {"step_1"}
    (repairs / SECOND).write_text("CREATE TABLE step_2 (id integer);")

    assert await install_schema(url, repairs) == [SECOND, THIRD]
    assert tables(url) == {"step_1", "step_2", "step_3"}


async def test_a_database_a_newer_version_has_changed_is_refused(
    new_database: NewDatabase, repairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = new_database()
    await install_schema(url, repairs)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE repair SET version = '9.1.0' WHERE name = %s", (THIRD,))
    earlier = tmp_path_factory.mktemp("earlier")
    shutil.copy(repairs / FIRST, earlier)
    shutil.copy(repairs / SECOND, earlier)

    with pytest.raises(StartError, match=rf"version 9.1.0 has changed this database.*{THIRD}.*run that version"):
        await install_schema(url, earlier)
    assert set(noted(url)) == {FIRST, SECOND, THIRD}


async def test_a_database_without_the_extension_says_what_to_install(postgres: EmbeddedPostgres) -> None:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(sql.Identifier(name), sql.Identifier(ROLE))
        )
        try:
            with pytest.raises(ConfigurationError, match=r"lacks the extension 'vector'.*CREATE EXTENSION vector"):
                await install_schema(postgres.program_url(name))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_an_extension_that_is_too_old_is_named_with_the_cure(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    known = conninfo_to_dict(database_url)["dbname"]
    url = make_conninfo(postgres.superuser_url, dbname=known)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")

    with pytest.raises(ConfigurationError, match=r"is 0\.7\.4, at least 0\.8.*ALTER EXTENSION vector UPDATE"):
        await install_schema(database_url)


async def test_a_database_that_does_not_answer_is_no_fault_of_the_schema() -> None:
    with pytest.raises(DatabaseUnavailable):
        await install_schema("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_every_step_says_what_it_is_for() -> None:
    for step in steps(REPAIRS):
        assert step.read_text(encoding="utf-8").splitlines()[1].startswith("-- ")
