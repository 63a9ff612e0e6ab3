# SPDX-License-Identifier: AGPL-3.0-or-later
"""Of a user who was deleted nothing is left, in no table and no file, and a command proves it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from context_chat_backend.cli.app import WRONG_USE, main
from context_chat_backend.cli.kept import files_holding
from context_chat_backend.domain import KeyScope, Principal, Realm
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.kept import Kept
from context_chat_backend.store.keys import Keys
from tests import commands
from tests.program import Program, part
from tests.waiting import until

PLANTED = {
    "of hers": "The capercaillie sleeps behind the boathouse",
    "broken": "The ptarmigan lives in a document that cannot be read",
    "asked": "Where does the woodgrouse sleep",
}
BROKEN = b"%PDF-1.7\n" + PLANTED["broken"].encode()
SHARED = "The lapwing belongs to both of them"


@pytest.fixture
def program(storage: Path, database_url: str) -> Iterator[Program]:
    (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n", encoding="utf-8")
    with Program(storage, {"CCB_DB_URL": database_url}, forked=True) as program:
        yield program


def kept(program: Program, *arguments: str) -> tuple[int, Any]:
    """Exit code and answer of the command, as an administrator runs it beside the program."""
    done = commands.run("kept", *arguments, "--json", environment=program.environment)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def everything(url: str) -> str:
    """All rows of all tables, as text; bytes as they are."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT set_config('context_chat.principals', '{0}', false)")
        connection.execute("SET bytea_output = 'escape'")
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
            "AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert len(tables) > 20
        rows = []
        for table in tables:
            named = sql.SQL("SELECT one::text FROM {} AS one").format(sql.Identifier(*table))
            rows += [row[0] for row in connection.execute(named).fetchall()]
    return "\n".join(rows)


def files_of(storage: Path, text: str) -> list[str]:
    return [str(path) for path in storage.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def pages_of(postgres: EmbeddedPostgres, url: str, text: str) -> list[str]:
    """The files of the database itself that hold a text, once the room of deleted rows was given back."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(psycopg.conninfo.make_conninfo(postgres.superuser_url, dbname=name), autocommit=True) as one:
        one.execute("VACUUM FULL")
        one.execute("CHECKPOINT")
        row = one.execute(
            "SELECT current_setting('data_directory'), oid FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return files_of(Path(row[0]) / "base" / str(row[1]), text)


def test_a_deleted_user_leaves_nothing_and_a_command_proves_it(
    program: Program, database_url: str, postgres: EmbeddedPostgres
) -> None:
    loaded = program.load([
        part("files__default: 1", PLANTED["of hers"].encode(), title="hers.txt"),
        part("files__default: 2", SHARED.encode(), "alice,bob"),
        part("files__default: 3", BROKEN, title="broken.pdf", type="application/pdf"),
    ])  # fmt: skip
    assert len(loaded.json()["loaded_sources"]) == 3
    program.wait_for_indexed(2)
    program.post("/query", {"query": PLANTED["asked"], "userId": "alice"})
    assert files_of(program.storage, PLANTED["asked"]) == []

    code, before = kept(program, "--user", "alice")
    assert code == 1
    assert before["rows"]["principal"] == 1
    code, holding = kept(program, "--text", "capercaillie")
    assert (code, set(holding["rows"])) == (1, {"chunk_text"})

    program.post("/deleteUser", {"userId": "alice"})

    def is_gone() -> bool:
        rows = everything(database_url)
        return not any(text in rows for text in PLANTED.values())

    until(is_gone)

    rows = everything(database_url)
    for text in PLANTED.values():
        assert text not in rows
        assert files_of(program.storage, text) == []
        assert pages_of(postgres, database_url, text) == []
    assert kept(program, "--text", PLANTED["of hers"]) == (0, {"rows": {}, "files": [], "marks": {}})
    code, after = kept(program, "--user", "alice")
    assert (code, after["rows"], after["files"]) == (0, {}, [])
    assert set(after["marks"]) <= {"action_log", "applied_action"}
    assert SHARED in rows


async def test_users_of_other_realms_are_others_and_tables_nobody_knows_are_looked_at_too(
    database: Database, database_url: str
) -> None:
    def of(name: str, realm: Realm = Realm.NEXTCLOUD) -> Awaitable[dict[str, int]]:
        return Kept(database).about(Principal(realm, name))

    carol = Principal(Realm.LOCAL, "carol")
    await Keys(database).add("site", user=carol, collections=[], scopes=[KeyScope.CHAT])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE of_tomorrow (said jsonb, names text[], bytes bytea)")
        told = json.dumps({"deep": [{"user": "dora"}]})
        connection.execute("INSERT INTO of_tomorrow VALUES (%s, %s, %s)", (told, ["erik"], b"\x00a corncrake\x00"))

    assert await of("carol", Realm.LOCAL) == {"access.api_keys": 1}
    assert await of("carol") == {}
    assert await of("dora") == await of("erik") == await Kept(database).holding("corncrake") == {"of_tomorrow": 1}
    assert await of("dor") == await of("user") == {}


def test_files_that_name_somebody_are_told(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit.log").write_text('{"user": "fred"}\n{"user": "M\\u00fcller"}', encoding="utf-8")

    assert files_holding(tmp_path, '"fred"') == files_holding(tmp_path, "Müller") == ["audit/audit.log"]
    assert files_holding(tmp_path, '"fre"') == []
    (tmp_path / "a record of tomorrow.jsonl").write_text('{"user": "fred"}', encoding="utf-8")
    assert len(files_holding(tmp_path, '"fred"')) == 2


@pytest.mark.parametrize("arguments", [(), ("--user", "a", "--text", "four"), ("--text", "the"), ("--user", "")])
def test_what_is_not_to_be_looked_for_is_said(arguments: tuple[str, ...]) -> None:
    assert main(["kept", *arguments]) == WRONG_USE
