# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all tests share: folders PostgreSQL can reach, one server for the run, a database for each test."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql

from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import DATABASE, ROLE, EmbeddedPostgres
from context_chat_backend.store.history import install_schema

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
hypothesis.settings.register_profile("tests", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("tests")
_TEMPLATE = "template_of_tests"


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """The environment of whoever runs the tests must not decide their outcome."""
    for name in ("APP_SECRET", "APP_HOST", "APP_PORT", "APP_PERSISTENT_STORAGE", "CCB_DB_URL", "EXTERNAL_DB"):
        os.environ.pop(name, None)


def open_folder() -> Path:
    """A new folder that any user may pass through: as root PostgreSQL runs as another."""
    folder = Path(tempfile.mkdtemp(prefix="ccb-test-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def storage() -> Iterator[Path]:
    """A persistent storage for one test."""
    folder = open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def module_storage() -> Iterator[Path]:
    """A persistent storage for the tests of one module."""
    folder = open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server of this run, with a template database that holds the schema."""
    folder = open_folder()
    server = EmbeddedPostgres(folder, settings=_FAST)
    url = asyncio.run(server.start())
    asyncio.run(install_schema(url))
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(DATABASE), sql.Identifier(_TEMPLATE))
        )
    yield server
    asyncio.run(server.stop())
    shutil.rmtree(folder)


@contextmanager
def _new_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(_TEMPLATE), sql.Identifier(ROLE)
            )
        )
        yield postgres.program_url(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of its own with the whole schema, for the program's role."""
    with _new_database(postgres) as url:
        yield url


@pytest.fixture
def new_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Another database, for what is carried from one to the other."""
    with _new_database(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database for the tests of one module."""
    with _new_database(postgres) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open pool on a database of its own."""
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()
