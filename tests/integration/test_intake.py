# SPDX-License-Identifier: AGPL-3.0-or-later
"""The intake of a process that was halted beyond its lease changes nothing any more: what it has read is stale."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from context_chat_backend import config
from context_chat_backend.exapp import intake
from context_chat_backend.exapp.intake import LEASE_NAME, Intake
from context_chat_backend.exapp.transfer import Transfer
from context_chat_backend.nextcloud.queues import ACTIONS, CONTENT, FILES, QueuedRow
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.store.database import Database
from context_chat_backend.store.leases import Held
from context_chat_backend.wiring import Backend
from tests.nextcloud_double.queues import Queue
from tests.waiting import PATIENCE, soon

FILE, CARD = "files__default: 1", "deck__cards: 1"


class Companion:
    """Its three queues, which several processes ask."""

    def __init__(self) -> None:
        self.queues = {name: Queue(lambda: 0.0) for name in (FILES, CONTENT, ACTIONS)}

    def submit(self, ref: str, readers: list[str]) -> None:
        provider = ref.partition(": ")[0]
        is_file = provider == "files__default"
        self.queues[FILES if is_file else CONTENT].add(
            {"userIds": readers, "reference": ref, "title": "note.txt", "content": None if is_file else "a garden",
             "modified": 1718000000, "type": "text/plain", "provider": provider, "size": 8},
        )  # fmt: skip

    def change(self, op: str, ref: str, user: str) -> None:
        payload = {"op": op, "userIds": [user], "sourceId": ref}
        self.queues[ACTIONS].add({"type": "update_access_source_id", "payload": payload})

    async def lease_documents(self, limit: int) -> list[QueuedRow]:
        return self._lease(FILES, limit) + self._lease(CONTENT, limit)

    async def lease_actions(self, limit: int) -> list[QueuedRow]:
        return self._lease(ACTIONS, limit)

    async def acknowledge(self, ids: Mapping[str, Collection[int]]) -> None:
        for name, of in ids.items():
            self.queues[name].delete(of)

    async def is_empty(self) -> bool:
        return not any(queue.rows for queue in self.queues.values())

    async def has_no_actions(self) -> bool:
        return not self.queues[ACTIONS].rows

    def _lease(self, name: str, limit: int) -> list[QueuedRow]:
        return [QueuedRow(name, row.id, json.dumps(row.payload)) for row in self.queues[name].lease(limit)]


class Halt:
    """Work at which a process is halted, before or after it."""

    def __init__(self, work: Callable[..., Any], *, before: bool) -> None:
        self._work = work
        self._before = before
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self._before:
            await self._wait()
            return await self._work(*arguments, **named)
        done = await self._work(*arguments, **named)
        await self._wait()
        return done

    async def _wait(self) -> None:
        self.reached.set()
        await self.goes_on.wait()


class Taker:
    """A process with an intake."""

    def __init__(self, backend: Backend, companion: Companion) -> None:
        self.backend = backend
        self.queues = SimpleNamespace(
            lease_documents=companion.lease_documents,
            lease_actions=companion.lease_actions,
            acknowledge=companion.acknowledge,
        )
        self.tries_again = asyncio.Event()
        """Set whenever it asks for the lease."""
        hold = backend.leases.hold

        def holding(name: str, lease: timedelta) -> AbstractAsyncContextManager[Held | None]:
            self.tries_again.set()
            return hold(name, lease)

        backend.leases.hold = holding  # type: ignore[assignment, method-assign]

    def halt(self, part: str, work: str, *, before: bool) -> Halt:
        """Let it be halted at the `work` of a part, once it runs."""
        owner = self.queues if part == "queues" else getattr(self.backend, part)
        halt = Halt(getattr(owner, work), before=before)
        setattr(owner, work, halt)
        return halt

    def finds_room(self, room: bool) -> None:
        """Whether the waiting list takes more, as it finds."""

        async def has_room() -> bool:
            return room

        self.backend.admission.has_room = has_room  # type: ignore[method-assign]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async def pulls() -> bool:
            return True

        nextcloud, transfer = SimpleNamespace(queues=self.queues), SimpleNamespace(pulls=pulls)
        task = asyncio.create_task(Intake(self.backend, cast(Nextcloud, nextcloud), cast(Transfer, transfer)).run())
        yield task
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def takers(
    storage: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Companion, Taker, Taker]]:
    """Two processes on one database, whose pauses are short."""
    monkeypatch.setattr(intake, "_OTHER_AT_WORK_SECONDS", 0.01)
    (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n", encoding="utf-8")
    environment = {"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": database_url}
    companion = Companion()
    async with AsyncExitStack() as stack:
        backends = [Backend(config.load(environment, cores=2)) for _ in range(2)]
        for backend in backends:
            stack.push_async_callback(backend.close)
            await backend.start(indexing=False)
        await backends[0].switch.set_enabled(True)
        yield companion, Taker(backends[0], companion), Taker(backends[1], companion)


async def readers(database: Database, ref: str) -> set[str]:
    async with database.transaction() as connection:
        rows = await connection.execute(
            "SELECT principal.name FROM source JOIN access_member USING (access_set_id) "
            "JOIN principal ON principal.id = principal_id WHERE source.ref = %s",
            [ref],
        )
        return {name for (name,) in await rows.fetchall()}


async def happened(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def end_the_lease(database: Database) -> None:
    """As time does to one who is halted."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE lease SET until = now() - interval '1 second' WHERE name = %s", [LEASE_NAME])


async def rows_lost_at(database: Database) -> datetime | None:
    async with database.transaction() as connection:
        row = await (await connection.execute("SELECT value FROM setting WHERE name = 'rows_lost_at'")).fetchone()
        return None if row is None else datetime.fromisoformat(row[0])


@pytest.mark.parametrize("ref", [FILE, CARD])
@pytest.mark.parametrize(
    ("part", "work", "before"),
    [
        pytest.param("queues", "lease_documents", False, id="with rows that are not kept"),
        pytest.param("admission", "admit_leased", True, id="before it admits"),
        pytest.param("actions", "change_each", True, id="before it changes rights"),
    ],
)
async def test_what_another_process_has_revoked_meanwhile_stays_revoked(
    takers: tuple[Companion, Taker, Taker], database: Database, ref: str, part: str, work: str, before: bool
) -> None:
    companion, first, second = takers
    companion.submit(ref, ["alice"])
    async with first.running():
        await soon(companion.is_empty)
    companion.change("allow", ref, "bob")
    companion.submit(ref, ["alice", "bob"])
    halt = first.halt(part, work, before=before)
    async with first.running():
        await happened(halt.reached)
        await end_the_lease(database)
        companion.change("deny", ref, "bob")
        async with second.running():
            await soon(companion.has_no_actions)
            assert await readers(database, ref) == {"alice"}
            halted_until = await first.backend.queued.now()
            first.tries_again.clear()
            halt.goes_on.set()
            await happened(first.tries_again)

    assert await readers(database, ref) == {"alice"}
    if part == "queues":
        lost_at = await rows_lost_at(database)
        assert lost_at is not None
        assert lost_at > halted_until


async def test_content_that_was_submitted_meanwhile_is_not_thought_newer_than_a_revocation(
    takers: tuple[Companion, Taker, Taker], database: Database
) -> None:
    companion, first, second = takers
    companion.submit(CARD, ["alice"])
    halt = first.halt("actions", "let_emptied_go", before=True)
    async with first.running():
        await happened(halt.reached)
        companion.submit(CARD, ["alice", "bob"])
        companion.change("deny", CARD, "bob")
        await end_the_lease(database)
        second.finds_room(False)
        async with second.running():
            await soon(companion.has_no_actions)
            first.tries_again.clear()
            halt.goes_on.set()
            await happened(first.tries_again)
    second.finds_room(True)
    async with second.running():
        await soon(companion.is_empty)

    assert await readers(database, CARD) == {"alice"}
