# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backend that remembers what it was asked to do, in the shape of `wiring.Backend`: for tests of the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from context_chat_backend.config import AppSettings, Secret
from context_chat_backend.domain import Admission, Answer, Delivery, FoundSource, Principal, Question, Reason, SourceRef
from context_chat_backend.errors import ContextChatError, SourceRejected, WaitingListFull
from context_chat_backend.health import Health
from context_chat_backend.limits import Limits
from context_chat_backend.settings.chat import ChatSettings
from context_chat_backend.store.overview import SlowSource, StateCount

MAX_SOURCE_BYTES = 1000


@dataclass
class FakeIndexing:
    max_source_bytes: int = MAX_SOURCE_BYTES


@dataclass
class FakeConfig:
    storage: Path
    app: AppSettings = field(default_factory=lambda: AppSettings(secret=Secret("s3cret-demo")))
    indexing: FakeIndexing = field(default_factory=FakeIndexing)
    limits: Limits = field(default_factory=Limits)
    chat: ChatSettings = field(default_factory=ChatSettings)


@dataclass
class FakeAdmissions:
    """Admits up to `room` sources; those in `unchanged` need none."""

    room: int = 1000
    unchanged: set[SourceRef] = field(default_factory=set)
    admitted: list[tuple[Delivery, bytes]] = field(default_factory=list)
    fails_with: Exception | None = None
    bodies: list[Path | bytes] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    room_comes: bool = False

    async def admit_new(self, deliveries: Sequence[tuple[Delivery, bytes]]) -> set[str]:
        """None: each is admitted by itself."""
        return set()

    async def admit(self, delivery: Delivery, body: Path | bytes, size: int) -> Admission:
        self.bodies.append(body)
        if self.fails_with is not None:
            raise self.fails_with
        if size == 0:
            raise SourceRejected(Reason.EMPTY)
        if size > MAX_SOURCE_BYTES:
            raise SourceRejected(Reason.TOO_LARGE)
        if delivery.ref in self.unchanged:
            return Admission.UNCHANGED
        if len(self.admitted) >= self.room:
            raise WaitingListFull
        self.admitted.append((delivery, body if isinstance(body, bytes) else body.read_bytes()))
        assert len(self.admitted[-1][1]) == size
        return Admission.ADMITTED

    async def wait_for_room(self, timeout_seconds: float) -> bool:
        self.waits.append(timeout_seconds)
        await asyncio.sleep(0)
        if self.room_comes:
            self.room += 1
        else:
            await asyncio.sleep(timeout_seconds)
        return self.room_comes


@dataclass
class FakeActions:
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fails_with: ContextChatError | None = None

    def _note(self, *call: Any) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.calls.append(call)

    async def allow(self, realm: str, targets: Sequence[SourceRef] | str, readers: Collection[Principal]) -> None:
        self._note("allow", realm, _plain(targets), {reader.name for reader in readers})

    async def deny(self, realm: str, targets: Sequence[SourceRef] | str, readers: Collection[Principal]) -> None:
        self._note("deny", realm, _plain(targets), {reader.name for reader in readers})

    async def replace(self, realm: str, targets: Sequence[SourceRef] | str, readers: Collection[Principal]) -> None:
        self._note("replace", realm, _plain(targets), {reader.name for reader in readers})

    async def delete_sources(self, realm: str, refs: Sequence[SourceRef]) -> None:
        self._note("delete_sources", realm, _plain(refs))

    async def delete_provider(self, realm: str, provider: str) -> None:
        self._note("delete_provider", realm, provider)

    async def delete_user(self, user: Principal) -> None:
        self._note("delete_user", user.realm, user.name)


@dataclass
class FakeLedger:
    counts: dict[str, int] = field(default_factory=dict)

    async def count_indexed(self, realm: str) -> dict[str, int]:
        return dict(self.counts)


@dataclass
class FakeOverview:
    states: list[StateCount] = field(default_factory=list)

    async def counts(self) -> list[StateCount]:
        return self.states

    async def sources_per_second(self) -> float | None:
        return 4.0

    async def slowest(self) -> list[SlowSource]:
        return [SlowSource("files__default: 7", "files/Secret plan.pdf", 900, 20)]


@dataclass
class FakeSwitch:
    enabled: bool = True
    fails_with: ContextChatError | None = None

    async def is_enabled(self) -> bool:
        if self.fails_with is not None:
            raise self.fails_with
        return self.enabled

    async def set_enabled(self, enabled: bool) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.enabled = enabled


@dataclass
class FakeNextcloud:
    """Refuses the first `refusals` reports."""

    refusals: int = 0
    reports: list[int] = field(default_factory=list)

    @property
    def client(self) -> FakeNextcloud:
        """The calls, as in nextcloud.server.Nextcloud."""
        return self

    async def report_progress(self, percent: int, error: str = "") -> bool:
        self.reports.append(percent)
        return len(self.reports) > self.refusals


class FakeQueued:
    """The clock of a database."""

    async def now(self) -> datetime:
        return datetime.now(UTC)


class FakeBackend:
    """Ready and enabled from the beginning."""

    def __init__(self, storage: Path, *, ready: bool = True) -> None:
        self.temporary = storage / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.config = FakeConfig(storage)
        self.health = Health()
        self.health.ready = ready
        self.admission = FakeAdmissions()
        self.actions = FakeActions()
        self.ledger = FakeLedger()
        self.overview = FakeOverview()
        self.switch = FakeSwitch()
        self.queued = FakeQueued()
        self.nextcloud: FakeNextcloud | None = FakeNextcloud()
        self.questions: list[Question] = []
        self.says: Answer | Exception = Answer("I found nothing.")
        self.found: list[FoundSource] = []

    async def answer(self, question: Question) -> Answer:
        self.questions.append(question)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def find_sources(self, question: Question) -> list[FoundSource]:
        self.questions.append(question)
        return self.found

    async def chat(self, text: str, asker: Principal) -> str:
        return f"you said: {text}"


def _plain(targets: Sequence[SourceRef] | str) -> str | list[str]:
    return targets if isinstance(targets, str) else [str(ref) for ref in targets]
