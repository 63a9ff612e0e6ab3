# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands of an upgrade with the real program: an old volume, a dump of it, a backup and its way back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.store import embedded_place
from tests import commands, old_cluster, old_index
from tests.program import ROOT, Program
from tests.waiting import until

SOURCES, USERS = 700, 6
HASHING = "embedding:\n  hashing:\n"


async def old_volume(data: Path, dumps: Path | None = None) -> dict[str, Counter[str]]:
    """A cluster as the reference leaves it; returns who may read what. `dumps`: a folder for dumps of it."""
    old_cluster.make_cluster(data)
    sources = await old_sources(SOURCES)
    async with old_cluster.running(data, "ccb") as url:
        old_index.write(url, sources)
        if dumps is not None:
            binaries = embedded_place.binaries_of(old_cluster.EARLIER)
            for name, kind in (("custom", "c"), ("plain", "p")):
                subprocess.run([binaries / "pg_dump", "-F", kind, "-f", dumps / name, url], check=True)
    return readers_of(sources)


async def old_sources(count: int) -> list[old_index.Old]:
    return await old_index.embedded(old_index.at_random(count, USERS), HashingEmbedder())


def readers_of(sources: list[old_index.Old]) -> dict[str, Counter[str]]:
    """Who may read what."""
    readable: dict[str, Counter[str]] = {f"user{number}": Counter() for number in range(USERS)}
    for one in sources:
        for user in one.readers:
            readable[user][one.ref] = 1
    return readable


def database_of(program: Program) -> str:
    """The URL of the embedded database of a program that runs."""
    password = (program.storage / "postgres.program").read_text()
    return f"postgresql://ccb:{password}@/context_chat?host={program.storage / 'postgres.socket'}"


def indexed(program: Program) -> int:
    return sum(program.post("/countIndexedDocuments").values())


def assert_rights(program: Program, readable: dict[str, Counter[str]]) -> None:
    """Each user finds what he may read and nothing else; the limit of the protocol is above what there is."""
    for user, refs in {**readable, "stranger": Counter[str]()}.items():
        found = program.search(user, "harbour", limit=SOURCES)
        assert set(found) <= set(refs)
        assert len(found) >= min(len(refs), 100)
        some = sorted(refs)[:20]
        if some:
            assert set(program.search(user, "harbour", limit=50, scopeType="source", scopeList=some)) == set(some)


def test_an_old_volume_is_offered_taken_over_in_two_goes_and_answers_at_once(storage: Path) -> None:
    data = storage / "vector_db_data" / "pgsql"
    readable = asyncio.run(old_volume(data))
    (storage / "config.yaml").write_text(HASHING)
    (storage / "version.info").write_text("5.3.0+")
    with Program(storage) as program:
        assert "old_index_found" in program.output()
        assert "import-reference" in program.run_command("status")

        command = [sys.executable, "main.py", "import-reference"]
        process = subprocess.Popen(command, cwd=ROOT, env=program.environment)
        until(lambda: indexed(program))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        half = indexed(program)
        assert 0 < half < SOURCES
        told = json.loads(program.run_command("import-reference", "--json"))

        assert told["wrong"] == []
        assert told["with_vectors"] is True
        assert told["known"] >= half
        assert told["known"] + told["taken"] == len({ref for refs in readable.values() for ref in refs})
        assert_rights(program, readable)
        assert "import-reference" not in program.run_command("status")
        assert (data / "PG_VERSION").exists()
        again = json.loads(program.run_command("import-reference", "--json", "--drop"))
        assert (again["taken"], again["wrong"], again["dropped"]) == (0, [], True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["custom", "plain"])
def test_a_dump_is_taken_over_and_a_backup_of_that_comes_back(storage: Path, kind: str) -> None:
    readable = asyncio.run(old_volume(storage / "old", storage))
    (storage / "new").mkdir()
    (storage / "new" / "config.yaml").write_text(HASHING)
    backup = storage / "backup"
    with Program(storage / "new") as program:
        told = json.loads(program.run_command("import-reference", str(storage / kind), "--json"))
        assert (told["wrong"], told["with_vectors"]) == ([], True)
        assert_rights(program, readable)
        program.run_command("backup", str(backup))
        with psycopg.connect(database_of(program)) as connection:
            names = {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
        assert "context_chat_import" not in names

    (storage / "restored").mkdir()
    (storage / "restored" / "config.yaml").write_text(HASHING)
    fresh = Program(storage / "restored")
    assert "Restored" in fresh.run_command("restore", str(backup))
    with fresh:
        assert_rights(fresh, readable)


@pytest.mark.slow
def test_an_index_is_taken_over_again_after_a_restore_and_its_tables_go_when_all_is_verified(storage: Path) -> None:
    sources = asyncio.run(old_sources(60))
    readable = readers_of(sources)
    (storage / "config.yaml").write_text(HASHING)
    before, after = str(storage / "before.backup"), str(storage / "after.backup")
    with Program(storage) as program:
        old_index.write(database_of(program), sources)
        program.run_command("backup", before)
        first = json.loads(program.run_command("import-reference", "--json"))
        assert (first["wrong"], first["known"]) == ([], 0)
        program.run_command("backup", after)

    program.run_command("restore", "--replace", before)
    with Program(storage) as program:
        assert indexed(program) == 0
        assert "import-reference" in program.run_command("status")
        again = json.loads(program.run_command("import-reference", "--json"))
        assert (again["taken"], again["wrong"]) == (first["taken"], [])
        assert_rights(program, readable)

    program.run_command("restore", "--replace", after)
    with Program(storage) as program:
        again = json.loads(program.run_command("import-reference", "--json"))
        assert (again["taken"], again["known"], again["wrong"]) == (0, first["taken"], [])

        with psycopg.connect(database_of(program)) as connection:
            connection.execute("SELECT set_config('context_chat.principals', '{0}', false)")
            connection.execute("UPDATE chunk_text SET text = text || ' and more'")
        code, said = command(program, "import-reference", "--drop")
        assert code == 1
        assert "WRONG: " in said
        assert "Nothing was dropped" in said
        with psycopg.connect(database_of(program)) as connection:
            assert connection.execute("SELECT count(*) FROM docs").fetchone() == (len(sources),)
            connection.execute("SELECT set_config('context_chat.principals', '{0}', false)")
            connection.execute("UPDATE chunk_text SET text = replace(text, ' and more', '')")

        assert "The old tables are dropped" in program.run_command("import-reference", "--drop")
        assert_rights(program, readable)
        code, said = command(program, "import-reference")
        assert code == 3
        assert "there is no old index in the database and none in the storage" in said


def command(program: Program, *arguments: str) -> tuple[int, str]:
    """The exit code of a command that need not go well, and what it prints in one line."""
    done = commands.run(*arguments, environment=program.environment)
    return done.returncode, " ".join((done.stdout + done.stderr).split())
