# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is there and may not be read costs the same work as what is not there: no clock tells one from the other.

The work is what the database is asked: each statement, and how many rows came of it.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psycopg
import pytest

from context_chat_backend.domain import KeyScope
from context_chat_backend.store.conversations import Owner
from tests.worlds import ALICE, BOB, TOWN, VAULT, Source, World, world

LIMITS = (
    "rate_limits: {ip_per_minute: 1000000, key_per_minute: 1000000}\n"
    "planner: {messages_per_minute: 1000000, tools_per_minute: 1000000}\n"
)
SECRET = Source("files__default: 7", "The heron nests behind the windmill.", "bob", "heron.txt")
Work = list[tuple[str, int]]
_asked: ContextVar[list[tuple[str, Any]] | None] = ContextVar("_asked", default=None)


@pytest.fixture
async def there(storage: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """An installation in which bob has a file, a collection and conversations, and alice a collection."""
    execute = psycopg.AsyncCursor.execute

    async def noted(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if (statements := _asked.get()) is not None:
            statements.append((str(query), cursor))
        return await execute(cursor, query, *arguments, **options)

    async with world(storage, database_url, LIMITS, ("chat", "planner")) as made:
        await made.deliver([SECRET])
        await made.collect(VAULT, BOB, ["The heron is a secret."])
        await made.collect(TOWN, ALICE, ["The windmill is old."])
        await made.make_keys()
        made.keys["bob"], _ = await made.backend.keys.add(
            "bob", user=BOB, collections=[], scopes=[KeyScope.CHAT, KeyScope.INGEST]
        )
        made.keys["hers"], _ = await made.backend.keys.add("hers", user=ALICE, collections=[], scopes=list(KeyScope))
        made.names["document of bob"] = await _document(made)
        made.names["talk of bob"] = await made.begin("/v1/conversations", "bob")
        made.names["plan of bob"] = str((await made.backend.planning.begin(Owner(BOB, ""), "secret")).id)
        made.names["no document"] = f"{VAULT.provider}: {uuid.uuid4().hex}"
        made.names["no talk"] = f"conv_{uuid.uuid4().hex}"
        made.names["no plan"] = str(uuid.uuid4())
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", noted)
        yield made


async def _document(there: World) -> str:
    """The id of what bob has put into his collection."""
    with psycopg.connect(there.backend.config.database_url.reveal()) as connection:  # type: ignore[union-attr]
        row = connection.execute("SELECT ref FROM source WHERE ref LIKE %s", (f"{VAULT.provider}: %",)).fetchone()
    assert row is not None
    return str(row[0])


async def work_of(
    there: World, surface: str, method: str, path: str, key: str | None, more: Mapping[str, Any]
) -> tuple[Any, Work]:
    """The answer, and what the database was asked for it.

    Uses are written down by others, some time, and an empty statement asks whether a connection still holds.
    """
    statements: list[tuple[str, Any]] = []
    token = _asked.set(statements)
    try:
        answer = await there.see(method, path, key, surface, **more)
    finally:
        _asked.reset(token)
    return answer, [(query, cursor.rowcount) for query, cursor in statements if query and "access.usage" not in query]


def _named(collection: str) -> dict[str, Any]:
    return {"json": {"messages": [{"role": "user", "content": "x"}], "retrieval": {"collections": [collection]}}}


def _scoped(ref: str) -> dict[str, Any]:
    return {"json": {"query": "heron", "userId": "alice", "scopeType": "source", "scopeList": [ref]}}


ALIKE: dict[str, tuple[str, str, str | None, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]]] = {
    **{
        f"{method} a document with {key}": (
            "nextcloud", method, key, (("/v1/documents/{document of bob}", {}), ("/v1/documents/{no document}", {}))
        )
        for method in ("GET", "DELETE")
        for key in ("hers", "ingest")
    },
    **{
        f"{method} a conversation": (
            "nextcloud", method, "hers", (("/v1/conversations/{talk of bob}", {}), ("/v1/conversations/{no talk}", {}))
        )
        for method in ("GET", "DELETE")
    },
    **{
        f"{method} a plan": (
            "planner", method, "hers", (("/api/v1/chat/{plan of bob}", more), ("/api/v1/chat/{no plan}", more))
        )
        for method, more in (("GET", {}), ("PATCH", {"json": {"title": "mine"}}), ("DELETE", {}))
    },
    "go on with a plan": ("planner", "POST", "hers", (
        ("/api/v1/chat/message", {"json": {"conversation_id": "{plan of bob}", "message": "x"}}),
        ("/api/v1/chat/message", {"json": {"conversation_id": "{no plan}", "message": "x"}}),
    )),
    "go on with a conversation": ("nextcloud", "POST", "hers", (
        ("/v1/chat/completions", {"json": {**_named("town")["json"], "conversation": "{talk of bob}"}}),
        ("/v1/chat/completions", {"json": {**_named("town")["json"], "conversation": "{no talk}"}}),
    )),
    "ask a collection": (
        "nextcloud",
        "POST",
        "hers",
        (("/v1/chat/completions", _named("vault")), ("/v1/chat/completions", _named("nowhere"))),
    ),
    "ask a source": ("nextcloud", "POST", None, (
        ("/docSearch", _scoped(SECRET.ref)), ("/docSearch", _scoped("files__default: 8"))
    )),
    "see a session": ("chat", "GET", "ingest", (("/chat/sessions/of-bob", {}), ("/chat/sessions/of-nobody", {}))),
}  # fmt: skip


async def test_what_may_not_be_read_costs_what_is_not_there(there: World) -> None:
    said = {"message": "What is old?", "session_id": "of-bob", "stream": False}
    assert (await there.see("POST", "/chat", "hers", "chat", json=said))[0] == 200
    different = []
    for name, (surface, method, key, pair) in ALIKE.items():
        (answer, work), (other, work_there) = [
            await work_of(there, surface, method, path, key, more) for path, more in pair
        ]
        assert work, name
        if answer[0] != other[0] or work != work_there:
            different.append(f"{name}: {answer[0]} {work}\n{other[0]} {work_there}")
    assert not different, "\n".join(different)


async def test_work_that_differs_is_seen(there: World) -> None:
    (read, work), (missing, work_there) = [
        await work_of(there, "nextcloud", "GET", f"/v1/conversations/{{{name}}}", "bob", {})
        for name in ("talk of bob", "no talk")
    ]
    assert (read[0], missing[0]) == (200, 404)
    assert work != work_there
