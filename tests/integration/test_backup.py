# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is backed up comes back whole, or nothing changes; files that cannot be used are refused with what to do."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from context_chat_backend.domain import Delivery, Principal, Question, Realm, SourceRef
from context_chat_backend.errors import StartError
from context_chat_backend.indexing.takeover import ReferenceImport
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.store.backup import back_up
from context_chat_backend.store.database import Database
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.reference import Reference
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces
from context_chat_backend.store.takeover import Takeover
from context_chat_backend.wiring.backups import put_back_into
from tests import old_index
from tests.schemas import catalogue
from tests.spaces import spaces_of

ROOT = Path(__file__).resolve().parents[2]
USERS = [f"user{number}" for number in range(5)]
RESTORE = (
    "import asyncio, sys, pathlib\nfrom context_chat_backend.wiring.backups import put_back_into\n"
    "asyncio.run(put_back_into(sys.argv[1], pathlib.Path(sys.argv[2]), replace=True,\n"
    "    progress=lambda what: print(what, flush=True)))"
)


async def fill(database: Database, url: str, sources: int = 60) -> None:
    """An index with readers, words, vectors, one body that waits, one setting."""
    embedder = HashingEmbedder(32)
    spaces = await spaces_of(database, embedder)
    old_index.write(url, await old_index.embedded(old_index.at_random(sources, len(USERS)), embedder))
    run = ReferenceImport(Reference(database), Takeover(database), spaces.live, zone=UTC)
    outcome = await run.run(await run.matching_space(), into_tail=False)
    await Reference(database).drop()
    assert outcome.taken > sources // 2
    waiting = Delivery(
        Realm.NEXTCLOUD, SourceRef("files__default", "999999"), "files/wäit.txt", "text/plain",
        datetime(2026, 1, 1, tzinfo=UTC), frozenset({Principal(Realm.NEXTCLOUD, "user1")}),
    )  # fmt: skip
    await Ledger(database).admit(waiting, b"waiting \x00 body", 14)


async def answers(url: str) -> dict[str, list[Any]]:
    """What every user finds by words, by meaning and by both, with scores."""
    database, embedder = Database(url), HashingEmbedder(32)
    await database.open()
    try:
        (listed,) = await Spaces(database).all()
        await Spaces(database).renew_searches()  # as every start does
        found: dict[str, list[Any]] = {}
        for user in [*USERS, "stranger"]:
            question = Question("harbour bridge report", Principal(Realm.NEXTCLOUD, user), limit=100)
            vector = await embedder.embed_question(question.text)
            for weights in (Weights(), Weights(words=0.0), Weights(meaning=0.0)):
                passages = await Search(database).passages(question, vector, listed.stored, weights)
                found.setdefault(user, []).append(
                    sorted((str(one.source), one.text, round(one.similarity, 3)) for one in passages)
                )
        return found
    finally:
        await database.close()


async def quietly(url: str, file: Path, *, replace: bool = False) -> None:
    await put_back_into(url, file, replace=replace, progress=lambda _: None)


def rows(url: str) -> Counter[str]:
    """How many rows each table has."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT set_config('context_chat.principals', '{0}', false)")
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace IN "
            "(SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_|information')"
        ).fetchall()
        return Counter(
            {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # type: ignore[index]
                for (table,) in tables
            }
        )


async def test_a_restored_index_answers_as_the_one_that_was_backed_up(
    database: Database, database_url: str, new_database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url)
    before, shape, counted = await answers(database_url), catalogue(database_url), rows(database_url)
    file = tmp_path / "backup"

    manifest = await back_up(database_url, file)
    await quietly(new_database_url, file)

    assert await answers(new_database_url) == before
    assert any(found for found in before["user1"])
    built_anew = "embedding_1_by_meaning"
    assert {one for one in catalogue(new_database_url) ^ shape if built_anew not in one} == set()
    assert rows(new_database_url) == counted
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert manifest.counts["chunks"] == counted["chunk"] > 50
    restored = Database(new_database_url)
    await restored.open()
    (claimed,) = await Ledger(restored).claim(5, timedelta(seconds=5))
    assert [piece async for piece in Ledger(restored).read(claimed)] == [b"waiting \x00 body"]
    newer = Delivery(
        Realm.NEXTCLOUD, SourceRef("files__default", "1000000"), "new", "text/plain", datetime.now(UTC),
        frozenset({Principal(Realm.NEXTCLOUD, "somebody new")}),
    )  # fmt: skip
    assert await Ledger(restored).admit(newer, b"x", 1) == "admitted"  # numbers go on where they were
    await restored.close()


async def test_without_vectors_words_answer_and_all_is_to_be_embedded(
    database: Database, database_url: str, new_database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url)
    before = await answers(database_url)

    await back_up(database_url, tmp_path / "whole")
    await back_up(database_url, tmp_path / "small", vectors=False)
    await quietly(new_database_url, tmp_path / "small")

    after = await answers(new_database_url)
    by_words = 2
    assert [(s, t) for s, t, _ in after["user1"][by_words]] == [(s, t) for s, t, _ in before["user1"][by_words]]
    assert after["user1"][1] == []
    assert (tmp_path / "small").stat().st_size < (tmp_path / "whole").stat().st_size
    restored = Database(new_database_url)
    await restored.open()
    (listed,) = await Spaces(restored).all()
    await restored.close()
    assert not listed.complete


async def test_a_backup_is_of_one_moment_whatever_is_written_meanwhile(
    database: Database, database_url: str, new_database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url)
    counted = rows(database_url)
    changed: list[str] = []

    def change(table: str) -> None:
        """With each table, something is written."""
        with psycopg.connect(database_url) as connection:
            connection.execute("SELECT set_config('context_chat.principals', '{0}', false)")
            connection.execute("DELETE FROM chunk WHERE id = (SELECT max(id) FROM chunk)")
            connection.execute("INSERT INTO setting VALUES (%s, '1')", [f"changed {table}"])
        changed.append(table)

    await back_up(database_url, tmp_path / "backup", progress=change)
    await quietly(new_database_url, tmp_path / "backup")

    assert len(changed) > 10
    assert rows(new_database_url) == counted
    assert rows(database_url) != counted


async def test_a_restore_that_was_killed_leaves_the_index_as_it_was(
    database: Database, database_url: str, new_database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url)
    await back_up(database_url, tmp_path / "first")
    await quietly(new_database_url, tmp_path / "first")
    before = await answers(new_database_url)
    await database.close()
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM source WHERE ref LIKE 'files%'")
    await back_up(database_url, tmp_path / "second")
    after = await answers(database_url)

    for moment, found in (("principal", before), ("words", before), ("embedding_1", before), ("index", after)):
        process = subprocess.Popen(
            [sys.executable, "-c", RESTORE, new_database_url, str(tmp_path / "second")],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert any(line.startswith(moment) for line in process.stdout), moment
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert await answers(new_database_url) == found, moment


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
async def test_a_file_that_was_cut_off_is_refused(
    database: Database, database_url: str, tmp_path: Path, share: float
) -> None:
    await fill(database, database_url, sources=10)
    before = await answers(database_url)
    file = tmp_path / "backup"
    await back_up(database_url, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    await database.close()

    with pytest.raises(StartError, match="no backup, or it was cut off"):
        await quietly(database_url, file, replace=True)
    assert await answers(database_url) == before


async def test_a_damaged_file_is_refused_and_changes_nothing(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url, sources=10)
    before = await answers(database_url)
    file = tmp_path / "backup"
    await back_up(database_url, file)
    with zipfile.ZipFile(file) as archive:
        offset = archive.getinfo("tables/embedding_1").header_offset
    content = bytearray(file.read_bytes())
    content[offset + 400] ^= 0xFF
    file.write_bytes(content)
    await database.close()

    with pytest.raises(StartError, match="damaged"):
        await quietly(database_url, file, replace=True)
    assert await answers(database_url) == before


def changed(file: Path, **values: object) -> Path:
    """The same backup with another manifest."""
    other = file.with_name("other")
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "backup.json":
                content = json.dumps(json.loads(content) | values).encode()
            copy.writestr(name, content)
    return other


async def test_a_backup_of_a_newer_version_is_refused(database: Database, database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    await back_up(database_url, file)
    await database.close()
    step = {"repair9001_date20300101000000.sql": "9.1.0"}

    with pytest.raises(StartError, match=r"made by version 9\.1\.0.*restore it with that version or a later"):
        await quietly(database_url, changed(file, version="9.1.0", steps=step))
    with pytest.raises(StartError, match=r"made by version 9\.1\.0.*restore it\s+with that version or a later"):
        await quietly(database_url, changed(file, version="9.1.0", format=2))


async def test_a_file_that_is_something_else_is_refused(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no backup")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a", "b")

    for name, said in (("text", "no backup"), ("zip", "no backup of this program"), ("none", "cannot be read")):
        with pytest.raises(StartError, match=said):
            await quietly(database_url, tmp_path / name)


async def test_an_index_is_replaced_only_when_that_is_said(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url, sources=10)
    await back_up(database_url, tmp_path / "backup")
    await database.close()

    with pytest.raises(StartError, match=r"holds an index of \d+ sources: --replace"):
        await quietly(database_url, tmp_path / "backup")
    await quietly(database_url, tmp_path / "backup", replace=True)


@pytest.mark.parametrize(
    "foreign",
    [
        "CREATE TABLE source (id integer)",
        "CREATE TABLE task (id integer)",
        "CREATE TABLE embedding_7 (id integer); CREATE TABLE lease (id integer)",
        "CREATE SCHEMA access; CREATE TABLE access.doors (id integer)",
        "CREATE TYPE source_state AS ENUM ('open')",
    ],
)
async def test_what_another_program_keeps_under_our_names_is_in_the_way_and_stays(
    database: Database, database_url: str, new_database_url: str, tmp_path: Path, foreign: str
) -> None:
    await back_up(database_url, tmp_path / "backup")
    with psycopg.connect(new_database_url) as connection:
        connection.execute("DROP OWNED BY CURRENT_USER CASCADE")
        connection.execute(foreign)
    before = catalogue(new_database_url)

    for replace in (False, True):
        with pytest.raises(StartError, match=r"another program is in the way .*already exists.*; nothing was changed"):
            await quietly(new_database_url, tmp_path / "backup", replace=replace)

    assert catalogue(new_database_url) == before


@pytest.mark.parametrize(
    "foreign",
    ["CREATE TABLE access.doors (id integer)", "CREATE VIEW titles AS SELECT title FROM source"],
)
async def test_what_hangs_on_an_index_is_not_dropped_with_it(
    database: Database, database_url: str, tmp_path: Path, foreign: str
) -> None:
    await fill(database, database_url, sources=10)
    await back_up(database_url, tmp_path / "backup")
    await database.close()
    with psycopg.connect(database_url) as connection:
        connection.execute(foreign)
    before, counted = catalogue(database_url), rows(database_url)

    with pytest.raises(StartError, match=r"another program is in the way .*depends on.*; nothing was changed"):
        await quietly(database_url, tmp_path / "backup", replace=True)

    assert (catalogue(database_url), rows(database_url)) == (before, counted)


async def test_tables_of_other_names_stay_when_an_index_is_replaced(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await fill(database, database_url, sources=10)
    await back_up(database_url, tmp_path / "backup")
    await database.close()
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE SCHEMA other; CREATE TABLE other.source AS SELECT 1; CREATE TABLE doors AS SELECT 1")

    await quietly(database_url, tmp_path / "backup", replace=True)

    assert rows(database_url)["other.source"] == rows(database_url)["doors"] == 1


async def test_a_program_that_runs_is_to_be_stopped_first(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await back_up(database_url, tmp_path / "backup")

    with pytest.raises(StartError, match="in use: stop the program"):
        await quietly(database_url, tmp_path / "backup")


async def test_a_file_that_is_there_is_not_written_over(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("precious")

    with pytest.raises(StartError, match="is there already"):
        await back_up(database_url, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "precious"


async def test_a_backup_that_fails_leaves_no_file(database_url: str, tmp_path: Path) -> None:
    def stop(_table: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await back_up(database_url, tmp_path / "backup", progress=stop)
    with pytest.raises(StartError, match="cannot be written"):
        await back_up(database_url, tmp_path / "no folder" / "backup")
    assert list(tmp_path.iterdir()) == []
