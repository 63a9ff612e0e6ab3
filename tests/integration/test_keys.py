# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys of programs, and collections with their readers, in the store and on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from context_chat_backend import config
from context_chat_backend.cli.index import index
from context_chat_backend.domain import Collection, KeyScope, Principal, Question, Realm, Scope
from context_chat_backend.store.database import Database
from context_chat_backend.store.keys import Keys
from context_chat_backend.wiring import Backend
from tests import commands

ALICE, BOB = Principal(Realm.LOCAL, "alice"), Principal(Realm.LOCAL, "bob")
TOWN, WORKS = Collection("town"), Collection("works")


async def test_a_key_is_known_again_and_stored_nowhere(database: Database, database_url: str) -> None:
    keys = Keys(database)
    text, made = await keys.add("site", user=ALICE, collections=[TOWN], scopes=[KeyScope.CHAT])
    used = await keys.use(text)

    assert text.startswith("api_")
    assert made.display == text[:6] + "***"
    assert used is not None
    assert (used.key.id, used.key.asker, used.key.collections) == (made.id, ALICE, (TOWN,))
    with psycopg.connect(database_url) as connection:
        assert text not in str(connection.execute("SELECT * FROM access.api_keys").fetchall())


async def test_a_key_without_a_user_speaks_for_its_collection(database: Database) -> None:
    _, key = await Keys(database).add("site", user=None, collections=[TOWN], scopes=[KeyScope.CHAT])

    assert key.asker == Principal(Realm.COLLECTION, "town")


async def test_unknown_revoked_and_expired_keys_are_no_keys(database: Database) -> None:
    keys = Keys(database)
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired, _ = await keys.add("a", user=ALICE, collections=[], scopes=[], expires_at=past)
    by_id, key = await keys.add("b", user=ALICE, collections=[], scopes=[])
    by_itself, _ = await keys.add("c", user=ALICE, collections=[], scopes=[])
    assert await keys.revoke(key.id)
    assert await keys.revoke(by_itself)

    for text in (expired, by_id, by_itself, "api_" + "x" * 32, "", "\x00", "\udcff"):
        assert await keys.use(text) is None
    assert not await keys.revoke(key.id)
    assert not await keys.revoke("nothing")
    assert [one.active for one in await keys.all()] == [False, False, True]


async def test_uses_of_a_minute_are_counted_for_each_key(database: Database) -> None:
    keys = Keys(database)
    often, _ = await keys.add("a", user=ALICE, collections=[], scopes=[], requests_per_minute=3)
    other, _ = await keys.add("b", user=ALICE, collections=[], scopes=[], requests_per_minute=3)
    # Of seven in a row at least four fall into one minute.
    uses = await asyncio.gather(*(keys.use(often) for _ in range(7)))
    first = await keys.use(other)

    over = [use for use in uses if use is not None and use.is_over_limit]
    assert over
    assert all(0 < use.seconds_left <= 60 for use in over)
    assert first is not None
    assert not first.is_over_limit


@pytest.fixture
async def backend(storage: Path, database_url: str) -> AsyncIterator[Backend]:
    (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n", encoding="utf-8")
    environment = {"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": database_url}
    backend = Backend(config.load(environment, cores=2))
    await backend.start()
    yield backend
    await backend.close()


async def put(backend: Backend, folder: Path, collection: Collection, readers: set[Principal], text: str) -> None:
    file = folder / f"{collection.name}-{len(text)}.txt"
    file.write_text(text, encoding="utf-8")
    outcome = await index(backend, [file], frozenset(readers), lambda *_: None, base=folder, collection=collection)
    assert outcome.rejected == 0


async def found(backend: Backend, asker: Principal, scope: Scope | None = None) -> set[str]:
    question = Question("Where is the fountain?", asker, scope or Scope())
    return {passage.text.split()[0] for passage in await backend.find_passages(question)}


async def test_a_collection_is_read_by_its_readers_and_by_its_keys(backend: Backend, storage: Path) -> None:
    await put(backend, storage, TOWN, {ALICE}, "Square: the fountain of the town.")
    await put(backend, storage, WORKS, {ALICE, BOB}, "Plan: a fountain is built at the works.")

    assert await found(backend, ALICE) == {"Square:", "Plan:"}
    assert await found(backend, BOB) == {"Plan:"}
    assert await found(backend, TOWN.itself) == {"Square:"}
    assert await found(backend, ALICE, Scope(providers=(TOWN.provider,))) == {"Square:"}
    assert await found(backend, Principal(Realm.NEXTCLOUD, "alice")) == set()
    assert await found(backend, Principal(Realm.LOCAL, "town")) == set()


async def test_who_is_let_into_a_collection_reads_what_is_and_will_be_there(backend: Backend, storage: Path) -> None:
    await put(backend, storage, TOWN, set(), "Square: the fountain of the town.")
    await backend.collections.allow(TOWN, [BOB])
    assert await found(backend, BOB) == {"Square:"}

    await backend.collections.deny(TOWN, [BOB])
    assert await found(backend, BOB) == set()
    await put(backend, storage, TOWN, set(), "Market: another fountain of the town stands there.")
    assert await found(backend, BOB) == set()
    assert await found(backend, TOWN.itself) == {"Square:", "Market:"}

    await backend.collections.allow(TOWN, [BOB])
    await put(backend, storage, TOWN, set(), "Park: the third fountain of the town.")
    assert await found(backend, BOB) == {"Square:", "Market:", "Park:"}


async def test_neighbours_of_a_passage_are_read_by_the_collection_too(backend: Backend, storage: Path) -> None:
    await put(backend, storage, TOWN, set(), "Square: the fountain of the town.\n\n" + "It has water. " * 300)

    answer = await backend.answer(Question("Where is the fountain of the town?", TOWN.itself))
    assert "fountain" in answer.text
    assert answer.citations


class Commands:
    """`context-chat` on one database."""

    def __init__(self, storage: Path, database_url: str) -> None:
        (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n", encoding="utf-8")
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "APP_PERSISTENT_STORAGE": str(storage),
            "CCB_DB_URL": database_url,
        }

    def run(self, *arguments: str) -> tuple[int, str]:
        done = commands.run(*arguments, environment=self._environment)
        return done.returncode, done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        code, said = self.run(*arguments, "--json")
        assert code == 0, said
        return json.loads(said)


def test_the_command_line_makes_lists_and_revokes_keys(storage: Path, database_url: str) -> None:
    shell = Commands(storage, database_url)
    (storage / "a.txt").write_text("The fountain stands in the square.", encoding="utf-8")
    indexed = shell.json("index", str(storage / "a.txt"), "--collection", "town", "--reader", "alice")
    made = shell.json("keys", "add", "site", "--collection", "town", "--days", "30", "--per-minute", "60")
    shown = shell.run("keys", "list")[1]

    assert indexed["admitted"] == 1
    assert shell.json("collections", "list") == [{"name": "town", "readers": ["alice"], "sources": 1, "title": ""}]
    assert (made["collections"], made["scopes"], made["requests_per_minute"]) == (["town"], ["chat"], 60)
    assert made["display"] in shown
    assert made["api_key"] not in shown
    assert "kept to town; for chat; 60 requests a minute; never used" in " ".join(shown.split())
    assert shell.run("keys", "revoke", made["id"])[0] == 0
    assert shell.json("keys", "list")[0]["active"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "add", "site"), "a user, or else for collections"),
        (("keys", "add", "site", "--collection", "nowhere"), "no collection nowhere"),
        (("keys", "add", "site", "--user", "alice", "--scope", "all"), "there is no 'all'"),
        (("keys", "revoke", "api_nothing"), "no such key"),
        (("collections", "add", "a/b"), "1 to 64 letters"),
        (("index", "main.py"), "--user"),
    ],
)
def test_what_is_typed_wrong_is_named(storage: Path, database_url: str, arguments: tuple[str, ...], said: str) -> None:
    code, shown = Commands(storage, database_url).run(*arguments)

    assert code == 2
    assert said in " ".join(shown.split())
