# SPDX-License-Identifier: AGPL-3.0-or-later
"""Access rules against an oracle: a plain dictionary of who may read what, and random operations on both."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_chat_backend.domain import (
    Admission,
    Chunk,
    ClaimedSource,
    Delivery,
    EmbeddingSpace,
    Principal,
    Question,
    Realm,
    SourceRef,
)
from context_chat_backend.store.access import Access
from context_chat_backend.store.changes import Change
from context_chat_backend.store.chunks import Chunks, IndexedSource
from context_chat_backend.store.database import Database
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.queued import Queued
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces, StoredSpace
from tests.who_reads import readers_of_all

NC = Realm.NEXTCLOUD
USERS = ("alice", "bob", "carol", "dave, the 🦊")
REFS = tuple(SourceRef(provider, str(n)) for provider in ("files__default", "mail__messages") for n in range(4))
START = datetime(2024, 1, 1, tzinfo=UTC)
OPERATIONS = int(os.environ.get("CCB_OPERATIONS", "100000"))
VECTOR = np.array([1.0, 0.0, 0.0], dtype=np.float32)


def user(name: str) -> Principal:
    return Principal(NC, name)


class House:
    """The real store, small: what a push and its indexing do, without parser and model."""

    def __init__(self, database: Database, space: StoredSpace, folder: Path) -> None:
        self.database = database
        self.space = space
        self.access = Access(database)
        self.ledger = Ledger(database)
        self.chunks = Chunks(database)
        self.search = Search(database)
        self.body = folder / "body"
        self.body.write_bytes(b"a common sentence")
        self.deliveries = 0
        """Every other one is admitted as those are of which many come at once."""

    async def deliver(
        self, ref: SourceRef, readers: set[str], modified: datetime = START, *, adds: bool = False, title: str = "t"
    ) -> Admission | None:
        delivery = Delivery(NC, ref, title, "text/plain", modified, frozenset(map(user, readers)), adds_readers=adds)
        self.deliveries += 1
        if self.deliveries % 2 and str(ref) in await self.ledger.admit_new([(delivery, self.body.read_bytes())]):
            return Admission.ADMITTED
        return await self.ledger.admit(delivery, self.body, self.body.stat().st_size)

    async def index(self) -> None:
        for source in await self.ledger.claim(100, timedelta(minutes=5)):
            chunk = Chunk(0, "a common sentence", language="english")
            await self.put(source, chunk)

    async def put(self, source: ClaimedSource, chunk: Chunk) -> bool:
        settled = await self.chunks.put([IndexedSource(source, [chunk], {self.space: VECTOR[None, :]}, b"")])
        return source.id in settled

    async def sweep(self) -> None:
        await self.access.sweep_sources()
        await self.access.sweep_sets()

    async def visible(self, name: str) -> set[SourceRef]:
        question = Question("common sentence", user(name), limit=100)
        return {p.source for p in await self.search.passages(question, VECTOR, self.space, Weights())}

    async def count(self, table: LiteralString) -> int:
        async with self.database.transaction() as connection:
            row = await (await connection.execute("SELECT count(*) FROM " + table)).fetchone()
        assert row is not None
        return int(row[0])

    async def wrong_digests(self) -> int:
        """How many sets have another digest than the sum of their members' hashes."""
        async with self.database.transaction() as connection:
            rows = await connection.execute(
                "SELECT count(*) FROM access_set WHERE digest IS DISTINCT FROM (SELECT sum(hash) FROM access_member "
                "JOIN principal ON principal.id = principal_id WHERE access_set_id = access_set.id)"
            )
            row = await rows.fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> House:
    space = await Spaces(database).ensure(EmbeddingSpace("three", 3))
    return House(database, space, tmp_path)


def concerns(targets: list[SourceRef] | str, ref: SourceRef) -> bool:
    return ref.provider == targets if isinstance(targets, str) else ref in targets


class Oracle:
    """Who may read what, in the plainest words there are."""

    def __init__(self) -> None:
        self.readers: dict[SourceRef, set[str]] = {}
        self.remembered: list[tuple[str, SourceRef | str | None, set[str]]] = []

    def deliver(self, ref: SourceRef, readers: set[str], *, adds: bool) -> None:
        if ref in self.readers:
            self.readers[ref] = self.readers[ref] | readers if adds else set(readers)
        else:
            left = set(readers)
            for op, target, names in self.remembered:
                if target in (ref, ref.provider, None):
                    left = self.apply(op, left, names)
            self.readers[ref] = left
            self.remembered = [entry for entry in self.remembered if entry[1] != ref]
        self.drop_unread()

    def act(self, op: str, targets: list[SourceRef] | str, names: set[str]) -> None:
        if isinstance(targets, str):
            if op == "deny":
                self.remembered.append((op, targets, names))
        else:
            self.remembered += [(op, ref, names) for ref in targets if ref not in self.readers]
        for ref in self.readers:
            if concerns(targets, ref):
                self.readers[ref] = self.apply(op, self.readers[ref], names)
        self.drop_unread()

    def delete(self, targets: list[SourceRef] | str) -> None:
        self.readers = {ref: names for ref, names in self.readers.items() if not concerns(targets, ref)}

    def change_each(self, changes: dict[SourceRef, Change]) -> None:
        for ref, change in changes.items():
            for op, readers in change.steps():
                if op == "delete":
                    self.delete([ref])
                else:
                    self.act(op, [ref], {reader.name for reader in readers})

    def delete_user(self, name: str) -> None:
        self.remembered.append(("deny", None, {name}))
        self.readers = {ref: names - {name} for ref, names in self.readers.items()}
        self.drop_unread()

    def drop_unread(self) -> None:
        self.readers = {ref: names for ref, names in self.readers.items() if names}

    @staticmethod
    def apply(op: str, readers: set[str], names: set[str]) -> set[str]:
        return {"allow": readers | names, "deny": readers - names, "replace": set(names)}[op]

    def visible(self, name: str) -> set[SourceRef]:
        return {ref for ref, names in self.readers.items() if name in names}


names = st.sets(st.sampled_from(USERS), min_size=1)
some_refs = st.lists(st.sampled_from(REFS), min_size=1, max_size=3, unique=True)
targets = st.one_of(some_refs, st.sampled_from(["files__default", "mail__messages"]))
people = st.sets(st.sampled_from(USERS)).map(lambda some: frozenset(map(user, some)))
changes = st.one_of(
    st.builds(lambda add, remove, deleted: Change(add, remove - add, False, deleted), people, people, st.booleans()),
    st.builds(lambda add, remove: Change(add, remove - add), people, people),
    st.builds(lambda add: Change(add, replaces=True), people),
)
each = st.dictionaries(st.sampled_from(REFS), changes, min_size=1)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("change each"), each),
        st.tuples(st.just("change each"), each),
        st.tuples(st.just("deliver"), st.sampled_from(REFS), names, st.booleans()),
        st.tuples(st.just("deliver"), st.sampled_from(REFS), names, st.booleans()),
        st.tuples(st.sampled_from(["allow", "deny", "replace"]), targets, names),
        st.tuples(st.just("delete"), targets),
        st.tuples(st.just("delete_user"), st.sampled_from(USERS)),
    ),
    min_size=4,
    max_size=25,
)


@pytest.mark.parametrize("index_at_once", [True, False])
@pytest.mark.parametrize("examples", [25, pytest.param(500, marks=pytest.mark.slow)])
async def test_after_every_operation_each_user_sees_exactly_what_the_oracle_says(
    house: House, index_at_once: bool, examples: int
) -> None:
    async def check(steps: list[tuple[object, ...]]) -> None:
        async with house.database.transaction() as connection:
            await connection.execute("TRUNCATE source, access_set, principal, action_log RESTART IDENTITY CASCADE")
        oracle = Oracle()
        for step in steps:
            match step:
                case ("deliver", SourceRef() as ref, set() as readers, bool() as adds):
                    oracle.deliver(ref, readers, adds=adds)
                    await house.deliver(ref, readers, adds=adds)
                case ("change each", dict() as changes):
                    oracle.change_each(changes)
                    await house.access.change_each(NC, changes)
                case ("delete", targets):
                    oracle.delete(targets)  # type: ignore[arg-type]
                    if isinstance(targets, str):
                        await house.access.delete_provider(NC, targets)
                    else:
                        await house.access.delete_sources(NC, targets)  # type: ignore[arg-type]
                case ("delete_user", str() as name):
                    oracle.delete_user(name)
                    await house.access.delete_user(user(name))
                case (str() as op, targets, set() as readers):
                    oracle.act(op, targets, readers)  # type: ignore[arg-type]
                    await getattr(house.access, op)(NC, targets, set(map(user, readers)))
            if index_at_once:
                await house.index()
                for name in USERS:
                    assert await house.visible(name) == oracle.visible(name), (step, name)
        await house.index()
        for name in USERS:
            assert await house.visible(name) == oracle.visible(name)
        await house.sweep()
        assert await house.count("source") == len(oracle.readers)
        assert await house.count("chunk") == len(oracle.readers)
        assert await house.count("access_set") == len({frozenset(names) for names in oracle.readers.values()})
        assert await house.count("principal") == len(set().union(*oracle.readers.values()))
        assert await house.wrong_digests() == 0

    loop = asyncio.get_running_loop()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operations)
    def run(steps: list[tuple[object, ...]]) -> None:
        asyncio.run_coroutine_threadsafe(check(steps), loop).result()

    await asyncio.to_thread(run)


class LongLife:
    """Operations without end on one store and one oracle; a batch counts as many as it has changes."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.oracle = Oracle()
        self.chance = random.Random(seed)
        self.users = [f"user{n}" for n in range(12)]
        self.refs = [
            SourceRef(p, str(n)) for p in ("files__default", "mail__messages", "deck__cards") for n in range(20)
        ]
        self.operations = 0

    def some_users(self, most: int = 5) -> set[str]:
        return set(self.chance.sample(self.users, self.chance.randint(1, most)))

    async def step(self) -> None:
        chance, access = self.chance, self.house.access
        kind = chance.choices(
            ["batch", "deliver", "act", "act widely", "delete", "delete provider", "delete user"],
            [50, 25, 15, 4, 4, 0.3, 0.5],
        )[0]
        names, ref = self.some_users(), chance.choice(self.refs)
        people = set(map(user, names))
        self.operations += 1
        match kind:
            case "batch":
                changes = {ref: self.change() for ref in chance.sample(self.refs, chance.randint(1, 24))}
                self.operations += len(changes) - 1
                self.oracle.change_each(changes)
                await access.change_each(NC, changes)
            case "deliver":
                adds = chance.random() < 0.3
                self.oracle.deliver(ref, names, adds=adds)
                await self.house.deliver(ref, names, adds=adds)
            case "act" | "act widely":
                op = chance.choice(["allow", "deny", "replace"])
                targets = ref.provider if kind == "act widely" else chance.sample(self.refs, chance.randint(1, 4))
                self.oracle.act(op, targets, names)
                await getattr(access, op)(NC, targets, people)
            case "delete":
                self.oracle.delete([ref])
                await access.delete_sources(NC, [ref])
            case "delete provider":
                self.oracle.delete(ref.provider)
                await access.delete_provider(NC, ref.provider)
            case "delete user":
                self.oracle.delete_user(min(names))
                await access.delete_user(user(min(names)))

    def change(self) -> Change:
        add, remove = (frozenset(map(user, self.some_users(3))) for _ in range(2))
        if self.chance.random() < 0.2:
            return Change(add, replaces=True)
        return Change(add, remove - add, deleted=self.chance.random() < 0.02)

    async def three_days_pass(self) -> None:
        """What was remembered for sources that were unknown is forgotten."""
        async with self.house.database.transaction() as connection:
            await connection.execute("UPDATE action_log SET at = at - interval '3 days'")
        await self.house.sweep()
        self.oracle.remembered.clear()

    async def agrees(self) -> None:
        await self.house.index()
        for name in (*self.users, "nobody"):
            assert await self.house.visible(name) == self.oracle.visible(name), (self.operations, name)
        assert await readers_of_all(self.house.database) == self.oracle.readers
        assert await self.house.wrong_digests() == 0


@pytest.mark.parametrize("operations", [1000, pytest.param(OPERATIONS, marks=pytest.mark.slow)])
@pytest.mark.timeout(1200)
async def test_after_a_long_life_everybody_sees_what_he_may_read_and_nothing_else(
    house: House, operations: int
) -> None:
    life = LongLife(house, seed=operations)
    steps = 0
    while life.operations < operations:
        await life.step()
        steps += 1
        if steps % 50 == 0:
            await life.agrees()
        if steps % 500 == 0:
            await life.three_days_pass()
    await life.agrees()
    await house.sweep()
    assert await house.count("source") == await house.count("chunk") == len(life.oracle.readers)
    assert await house.count("access_set") == len({frozenset(names) for names in life.oracle.readers.values()})


async def test_a_digest_is_always_the_sum_of_its_members(house: House) -> None:
    await house.deliver(REFS[0], {"alice", "bob"})
    await house.deliver(REFS[1], {"alice"})
    await house.access.allow(NC, [REFS[1]], {user("bob"), user("carol")})
    await house.access.deny(NC, "files__default", {user("alice")})

    assert await house.wrong_digests() == 0


async def test_sources_with_the_same_readers_share_one_set(house: House) -> None:
    for ref in REFS:
        await house.deliver(ref, {"alice", "bob"})

    assert await house.count("access_set") == 1


def any_change(chance: random.Random) -> Change:
    add, remove = (frozenset(map(user, chance.sample(USERS, chance.randint(0, 2)))) for _ in range(2))
    if chance.random() < 0.2:
        return Change(add, replaces=True)
    return Change(add, remove - add, deleted=chance.random() < 0.1)


@pytest.mark.parametrize("seed", range(8))
async def test_batches_change_what_they_name_and_nothing_that_shares_its_set(house: House, seed: int) -> None:
    chance = random.Random(seed)
    oracle = Oracle()
    refs = [SourceRef("files__default", str(n)) for n in range(20)]
    for _ in range(15):
        for ref in refs:
            if ref not in oracle.readers:
                readers = set(chance.choice([USERS[:1], USERS[:3], USERS[1:]]))
                oracle.deliver(ref, readers, adds=False)
                await house.deliver(ref, readers)
        changes = {ref: any_change(chance) for ref in chance.sample(refs, chance.randint(1, len(refs)))}
        if chance.random() < 0.3:  # all that share a set alike, which is then changed in place
            (some, *_) = changes.values()
            changes = {ref: some for ref in refs if oracle.readers.get(ref) == oracle.readers.get(refs[0])}
        oracle.change_each(changes)
        await house.access.change_each(NC, changes)

        assert await readers_of_all(house.database) == oracle.readers
        assert await house.wrong_digests() == 0


async def test_a_batch_may_give_one_source_the_readers_another_had(house: House) -> None:
    for ref, readers in zip(REFS, ({"alice"}, {"alice", "bob"}, {"carol"}), strict=False):
        await house.deliver(ref, readers)
    await house.index()

    await house.access.change_each(
        NC,
        {
            REFS[0]: Change(frozenset({user("bob")})),
            REFS[1]: Change(remove=frozenset({user("alice")})),
            REFS[2]: Change(frozenset({user("alice")}), replaces=True),
        },
    )

    assert await house.visible("alice") == {REFS[0], REFS[2]}
    assert await house.visible("bob") == {REFS[0], REFS[1]}
    assert await house.visible("carol") == set()
    assert await house.wrong_digests() == 0


async def test_an_action_while_a_source_waits_outlives_its_indexing(house: House) -> None:
    await house.deliver(REFS[0], {"alice", "bob"})
    (claimed,) = await house.ledger.claim(1, timedelta(minutes=5))
    await house.access.deny(NC, [REFS[0]], {user("bob")})
    await house.put(claimed, Chunk(0, "common"))

    assert await house.visible("alice") == {REFS[0]}
    assert await house.visible("bob") == set()


async def test_a_source_deleted_while_it_is_being_indexed_stays_deleted(house: House) -> None:
    await house.deliver(REFS[0], {"alice"})
    (claimed,) = await house.ledger.claim(1, timedelta(minutes=5))
    await house.access.delete_sources(NC, [REFS[0]])

    assert not await house.put(claimed, Chunk(0, "x"))
    assert await house.visible("alice") == set()


async def test_a_delivery_from_before_a_deletion_does_not_bring_the_source_back(house: House) -> None:
    received_at = await Queued(house.database).now()
    late = Delivery(NC, REFS[0], "t", "text/plain", START, frozenset({user("alice")}), received_at=received_at)
    await house.access.delete_sources(NC, [REFS[0]])
    await house.ledger.admit(late, house.body, 17)
    await house.index()
    assert await house.visible("alice") == set()

    await house.deliver(REFS[0], {"alice"})  # restored from the bin and delivered again
    await house.index()
    assert await house.visible("alice") == {REFS[0]}


async def test_a_grant_of_a_provider_does_not_open_what_arrives_later(house: House) -> None:
    await house.access.allow(NC, "files__default", {user("carol")})
    await house.access.deny(NC, "files__default", {user("bob")})
    await house.deliver(REFS[0], {"alice", "bob"})
    await house.index()

    assert await house.visible("alice") == {REFS[0]}
    assert await house.visible("bob") == await house.visible("carol") == set()


async def test_a_deleted_user_leaves_nothing(house: House) -> None:
    await house.deliver(REFS[0], {"bob"})
    await house.deliver(REFS[1], {"alice", "bob"})
    await house.index()

    await house.access.delete_user(user("bob"))
    await house.sweep()

    for table, rows in {"source": 1, "chunk": 1, "chunk_text": 1, "words": 1, "embedding_1": 1, "principal": 1}.items():
        assert await house.count(table) == rows, table
    assert await house.count("access_set") == await house.count("access_member") == 1


async def test_parallel_actions_and_deliveries_end_in_whole_sets(house: House) -> None:
    async def act(n: int) -> None:
        await house.deliver(REFS[n % len(REFS)], {"alice", USERS[n % 4]})
        await house.access.allow(NC, [REFS[n % len(REFS)]], {user("carol")})
        await house.access.deny(NC, "files__default", {user("bob")})

    await asyncio.gather(*(act(n) for n in range(40)))
    await house.index()

    assert await house.visible("carol") == set(REFS)
    assert {ref for ref in await house.visible("bob") if ref.provider == "files__default"} == set()


async def test_readable_text_needs_the_asker_even_past_the_statement(house: House) -> None:
    """The second wall: row-level security shows nobody's text to a connection that names no reader."""
    await house.deliver(REFS[0], {"alice"})
    await house.index()

    async def texts(asker: Principal) -> int:
        async with house.database.reading_as(asker) as connection:
            row = await (await connection.execute("SELECT count(*) FROM chunk_text")).fetchone()
        assert row is not None
        return int(row[0])

    assert await texts(user("alice")) == 1
    assert await texts(user("bob")) == 0
    assert await texts(user("nobody")) == 0
    assert await texts(Principal(Realm.LOCAL, "alice")) == 0


async def test_sources_that_are_kept_without_readers_are_nobodys_until_somebody_is_let_in(house: House) -> None:
    for ref, readers in zip(REFS, ({"alice"}, {"alice"}, {"alice"}, {"alice", "bob"}), strict=False):
        await house.deliver(ref, readers)
    await house.index()
    taken = Change(remove=frozenset({user("alice")}))

    await house.access.change_each(NC, {REFS[0]: taken, REFS[1]: taken}, keep_emptied=True)
    await house.access.deny(NC, "files__default", {user("alice")}, keep_emptied=True)

    assert await house.visible("alice") == set()
    assert await house.visible("nobody") == set()
    assert await house.visible("bob") == {REFS[3]}
    await house.access.allow(NC, [REFS[1]], {user("bob")})
    await house.access.let_emptied_go(NC)
    await house.access.allow(NC, REFS[:4], {user("carol")})
    assert await house.visible("carol") == {REFS[1], REFS[3]}
    assert await house.wrong_digests() == 0
