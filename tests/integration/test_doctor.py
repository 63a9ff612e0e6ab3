# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `doctor` says about the database of search: its second wall and its indexes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from context_chat_backend import config
from context_chat_backend.cli.doctor import Finding, examine
from context_chat_backend.parsing.formats import recognition
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.wiring import Backend


@asynccontextmanager
async def started(database_url: str, storage: Path, more: str = "") -> AsyncIterator[Backend]:
    (storage / "config.yaml").write_text(f"embedding:\n  hashing:\n{more}\n", encoding="utf-8")
    backend = Backend(config.load({"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": database_url}, cores=2))
    await backend.start(indexing=False)
    try:
        yield backend
    finally:
        await backend.close()


async def findings(backend: Backend) -> dict[str, Finding]:
    return {finding.what: finding async for finding in examine(backend)}


async def test_a_role_that_passes_row_security_is_named_with_the_cure(
    postgres: EmbeddedPostgres, database_url: str, storage: Path
) -> None:
    async with started(database_url, storage) as backend:
        assert (await findings(backend))["row security"].well
    superuser = conninfo_to_dict(postgres.superuser_url) | {"dbname": conninfo_to_dict(database_url)["dbname"]}
    async with started("postgresql://?" + urlencode(superuser), storage) as backend:
        guard = (await findings(backend))["row security"]
    assert not guard.well
    assert "no BYPASSRLS" in guard.said


@pytest.mark.parametrize(
    ("wanted", "there", "well", "said"),
    [
        ("", [], True, "install tesseract with its languages"),
        ("", ["deu", "eng"], True, "read in deu, eng"),
        ("[eng, fra]", ["deu", "eng"], False, "install Debian's tesseract-ocr-fra, or change ocr_languages"),
    ],
)
async def test_languages_of_text_in_pictures_are_named_and_what_is_missing(
    database_url: str,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    there: list[str],
    well: bool,
    said: str,
) -> None:
    monkeypatch.setattr(recognition, "installed", lambda: there)
    async with started(database_url, storage, f"ocr_languages: {wanted}") as backend:
        finding = (await findings(backend))["text in pictures"]

    assert finding.well is well
    assert said in finding.said


async def test_an_index_whose_building_was_cut_off_is_named_with_the_cure_and_built_again(
    postgres: EmbeddedPostgres, database_url: str, storage: Path
) -> None:
    async with started(database_url, storage) as backend:
        assert (await findings(backend))["search indexes"].well
        superuser = conninfo_to_dict(postgres.superuser_url) | {"dbname": conninfo_to_dict(database_url)["dbname"]}
        with psycopg.connect(make_conninfo("", **superuser), autocommit=True) as connection:
            query = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = {}::regclass"
            connection.execute(sql.SQL(query).format(sql.Literal("words_by_key")))
        found = (await findings(backend))["search indexes"]
        assert not found.well
        assert "words_by_key" in found.said
        assert "context-chat indexes build" in found.said
        for name in await backend.search_indexes.missing():
            await backend.search_indexes.build(name, memory=64 * 1024**2, workers=0)
        assert (await findings(backend))["search indexes"].well


async def test_dead_rows_are_named_with_the_table(database_url: str, storage: Path) -> None:
    async with started(database_url, storage) as backend:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ALTER TABLE setting SET (autovacuum_enabled = off)")
            connection.execute("INSERT INTO setting SELECT n::text, '0' FROM generate_series(1, 20000) AS n")
            connection.execute("DELETE FROM setting WHERE length(name) = 5")
            connection.execute("SELECT pg_stat_force_next_flush()")
        async with asyncio.timeout(60):
            while "dead rows" not in (found := await findings(backend)):
                await asyncio.sleep(0.2)
    assert "VACUUM setting" in found["dead rows"].said
