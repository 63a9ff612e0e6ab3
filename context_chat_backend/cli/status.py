# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the index stands, on a terminal: sources by state, and which embedding model answers or is on its way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from context_chat_backend.cli.show import console
from context_chat_backend.indexing.reembedding import Filling
from context_chat_backend.indexing.status import IndexingStatus, indexing_status
from context_chat_backend.wiring import Backend

_TAKE_OVER = "context-chat import-reference takes it over, without indexing anew"


async def show_status(backend: Backend, *, as_json: bool) -> None:
    """Print how many sources are in which state, why some were rejected, and how the embedding spaces stand.

    Raises DatabaseUnavailable.
    """
    known = await indexing_status(backend.overview)
    rejected = await backend.ledger.rejected()
    embedding = await embedding_status(backend)
    old = None if backend.old_index is None else f"an old index lies {backend.old_index}: {_TAKE_OVER}"
    if as_json:
        reasons = [{"source": r.ref, "title": r.title, "state": r.state, "reason": r.reason} for r in rejected]
        by_reason = {"rejected_by_reason": known.rejected}
        told = asdict(known) | by_reason | {"rejected": reasons, "embedding": asdict(embedding), "old_index": old}
        print(json.dumps(told, ensure_ascii=False))
        return
    for line in (*_lines(known), *(f"embedding {line}" for line in embedding.lines), *([old] if old else [])):
        console.print(line, markup=False)
    for source in rejected:
        cure = f"; quarantined, let out by: retry '{source.ref}'" if source.state == "quarantined" else ""
        console.print(f"  {source.title or source.ref}: {source.reason}{cure}", markup=False)


def _lines(known: IndexingStatus) -> Iterator[str]:
    """What people read: states, providers where there are several, the pace, what fails and what is slow."""
    for state in ("indexed", "waiting", "rejected", "quarantined"):
        yield f"{state:>11} {known.states.get(state, 0)}"
    if len(known.providers) > 1:
        for provider, counts in known.providers.items():
            yield f"  {provider}: {', '.join(f'{count} {state}' for state, count in counts.items())}"
    if known.seconds_left is not None:
        yield f"     pace {known.sources_per_second} a second, {duration(known.seconds_left)} left"
    for reason, count in known.failing.items():
        yield f"  failing {count} are tried again: {reason}"
    for reason, count in known.rejected.items():
        yield f" rejected {count}: {reason}"
    for source in known.slowest:
        yield f"     slow {source.title or source.ref}: read {source.parse_ms} ms, embedded {source.embed_ms or 0} ms"


@dataclass(frozen=True)
class EmbeddingStatus:
    """The embedding spaces, for people and for scripts."""

    answering: str
    """The model whose vectors are searched."""
    by_meaning: bool
    """False: its model cannot be used here, and words alone answer."""
    filling: str | None = None
    """The model that is to answer; None when there is none."""
    share: float | None = None
    """How much is embedded with it, from 0 to 1."""
    chunks: int | None = None
    """How many chunks there are in all."""
    chunks_per_second: float | None = None
    seconds_left: float | None = None
    at_work: bool | None = None
    """Whether some process fills it."""

    @property
    def stopped(self) -> bool:
        """A space is to be filled, and nobody does it."""
        return self.at_work is False

    @property
    def lines(self) -> list[str]:
        """What people read."""
        said = [f"{self.answering} answers" if self.by_meaning else
                f"words alone answer: the model {self.answering} cannot be used here any more"]  # fmt: skip
        if self.filling is not None and self.share is not None:
            said.append(f"{self.filling} is to answer: {self.share:.1%} of {self.chunks} chunks embedded, {self._pace}")
        return said

    @property
    def _pace(self) -> str:
        if self.stopped:
            return "stopped: it goes on while the program serves"
        if self.share == 1:
            return "its index is being built"
        if self.seconds_left is None or self.chunks_per_second is None:
            return "just begun"
        return f"{self.chunks_per_second:.0f} a second, {duration(self.seconds_left)} left"


async def embedding_status(backend: Backend) -> EmbeddingStatus:
    """How it stands now. Raises DatabaseUnavailable."""
    answering = backend.spaces.answering
    model, by_meaning = answering.stored.space.model, answering.embedder is not None
    filling = await backend.reembedding.progress()
    return EmbeddingStatus(model, by_meaning) if filling is None else _with(model, by_meaning, filling)


def _with(model: str, by_meaning: bool, filling: Filling) -> EmbeddingStatus:
    progress = filling.progress
    return EmbeddingStatus(
        model,
        by_meaning,
        filling.model,
        round(progress.share, 4),
        progress.chunks,
        progress.chunks_per_second,
        progress.seconds_left,
        filling.at_work,
    )


def duration(seconds: float) -> str:
    """How long that is, for people."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
