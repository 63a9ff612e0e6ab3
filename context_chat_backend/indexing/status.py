# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the index stands: what waits, how fast that becomes less, what fails and what is slow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from context_chat_backend.store.overview import Overview, SlowSource


@dataclass(frozen=True, slots=True)
class IndexingStatus:
    """The ledger in numbers."""

    states: Mapping[str, int]
    providers: Mapping[str, Mapping[str, int]]
    """Sources by provider, then by state."""
    failing: Mapping[str, int]
    """Sources that wait after a failed attempt, by its reason."""
    rejected: Mapping[str, int]
    """Rejected sources by reason."""
    sources_per_second: float | None
    """Of late; None while nothing is indexed."""
    seconds_left: float | None
    """Until nothing waits, at that pace; None where there is none."""
    slowest: tuple[SlowSource, ...]
    """What took longest in the last hour."""


async def indexing_status(overview: Overview) -> IndexingStatus:
    """How it stands now. Raises DatabaseUnavailable."""
    states: Counter[str] = Counter()
    failing: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    providers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for count in await overview.counts():
        states[count.state] += count.sources
        providers[count.provider][count.state] += count.sources
        if count.reason is not None:
            (rejected if count.state in ("rejected", "quarantined") else failing)[count.reason] += count.sources
    pace = await overview.sources_per_second()
    waiting = states["waiting"]
    return IndexingStatus(
        dict(states),
        {provider: dict(counts) for provider, counts in providers.items()},
        dict(failing),
        dict(rejected),
        None if pace is None else round(pace, 2),
        round(waiting / pace, 1) if waiting and pace else None,
        tuple(await overview.slowest()),
    )
