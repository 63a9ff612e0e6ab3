# SPDX-License-Identifier: AGPL-3.0-or-later
"""Index a data set with the real program in a folder of its own, ask all its questions, and keep the rankings.

Nothing of the user's is touched: the database is the bundled one, in a new folder that is removed afterwards.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from context_chat_backend.config import Config
from context_chat_backend.domain import Delivery, Principal, Question, Realm, SourceRef, clean_title
from context_chat_backend.errors import InvalidRequest, SourceRejected
from context_chat_backend.evaluation.configurations import Configuration, Index
from context_chat_backend.evaluation.datasets import DataSet, Document
from context_chat_backend.evaluation.measures import DEPTH
from context_chat_backend.settings import ModelChoice
from context_chat_backend.store.search import Weights
from context_chat_backend.wiring import Backend

READER = Principal(Realm.LOCAL, "evaluation")
_AS_CONFIGURED = Index()
_PROVIDER = "local__evaluation"
_AT_ONCE = 4
_ROOM_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was found for a question."""

    keys: tuple[str, ...]
    """Documents, best first, at most DEPTH."""
    similarity: float
    """The highest cosine among them, -1 to 1; -1 when nothing was found."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The rankings of one configuration, one for each question of the data set."""

    configuration: Configuration
    rankings: Sequence[Ranking]
    rejected: int
    """How many documents could not be indexed; nothing finds them."""


async def evaluate(
    config: Config,
    data: DataSet,
    configurations: Sequence[Configuration],
    told: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> list[Measured]:
    """Run `data` through the program as `config` describes it, once for each configuration, in their order.

    `told` is called with what is done, how much of it, and of how much. Raises InvalidRequest when a configuration
    cannot be, and whatever starting the program raises.
    """
    for configuration in configurations:
        if configuration.index.quantised is not None and config.embedding.name != "onnx":
            raise InvalidRequest(
                f"--configuration {configuration.name}: precisions are of the packaged model, and embedding in "
                f"config.yaml is '{config.embedding.name}': leave +int8 and +fp32 out"
            )
    measured: dict[str, Measured] = {}
    for index in dict.fromkeys(configuration.index for configuration in configurations):
        async with temporary_program(config, index) as backend:
            told_documents = _counting(told, "indexing")
            keys = await fill(backend, data.documents, titled=index.titled, told=told_documents)
            for configuration in configurations:
                if configuration.index == index:
                    told_questions = _counting(told, configuration.name)
                    rankings = await ask(backend, data, keys, configuration.weights, told_questions)
                    rejected = len(data.documents) - len(keys)
                    measured[configuration.name] = Measured(configuration, rankings, rejected)
    return [measured[configuration.name] for configuration in configurations]


@asynccontextmanager
async def temporary_program(config: Config, index: Index = _AS_CONFIGURED) -> AsyncIterator[Backend]:
    """The program, running on an empty database of its own, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="context-chat-evaluation-"))
    try:
        backend = Backend(_temporary(config, index, folder))
        await backend.start()
        try:
            yield backend
        finally:
            await backend.close()
    finally:
        await asyncio.to_thread(_remove, folder)


async def fill(
    backend: Backend,
    documents: Sequence[Document],
    *,
    titled: bool = True,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[SourceRef, str]:
    """Index the documents for READER and wait for all verdicts; what was indexed, by source.

    Untitled, a document is called by its number; files keep their ending, which tells their type.
    """
    keys: dict[SourceRef, str] = {}
    with tempfile.NamedTemporaryFile() as body:
        for number, document in enumerate(documents):
            ref = SourceRef(_PROVIDER, str(number))
            title = document.title if titled else f"{number}{Path(document.title).suffix}"
            path = document.path
            if path is None:
                path = Path(body.name)
                path.write_text(document.text, encoding="utf-8")
            media_type = "text/plain" if document.path is None else ""
            readers = frozenset({READER})
            delivery = Delivery(READER.realm, ref, clean_title(title), media_type, datetime.now(UTC), readers)
            await backend.admission.wait_for_room(_ROOM_SECONDS)
            try:
                await backend.admission.admit(delivery, path, path.stat().st_size)
            except SourceRejected:
                continue
            keys[ref] = document.key
    while waiting := (await backend.ledger.waiting()).sources:
        told(len(documents) - waiting, len(documents))
        await backend.indexer.wait_for_verdict(1.0)
    rejected = {SourceRef.parse(source.ref) for source in await backend.ledger.rejected()}
    return {ref: key for ref, key in keys.items() if ref not in rejected}


async def ask(
    backend: Backend,
    data: DataSet,
    keys: dict[SourceRef, str],
    weights: Weights | None,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Ranking]:
    """The ranking for each question, as a search for sources gives it."""
    rankings: list[Ranking] = []
    for start in range(0, len(data.questions), _AT_ONCE):
        told(start, len(data.questions))
        questions = [Question(asked.text, READER, limit=DEPTH) for asked in data.questions[start : start + _AT_ONCE]]
        for found in await asyncio.gather(*(backend.find_sources(question, weights) for question in questions)):
            similarity = max((source.similarity for source in found), default=-1.0)
            rankings.append(Ranking(tuple(keys[source.ref] for source in found), similarity))
    return rankings


def _temporary(config: Config, index: Index, folder: Path) -> Config:
    """The user's configuration of models and chunks, with nothing of the user's data in reach."""
    embedding = config.embedding
    if index.quantised is not None:
        embedding = ModelChoice(embedding.name, {**embedding.options, "quantised": index.quantised})
    reranker = config.reranker
    if (model := reranker.options.get("model")) and (config.storage / "models" / str(model)).exists():
        absolute = str((config.storage / "models" / str(model)).absolute())
        reranker = ModelChoice(reranker.name, {**reranker.options, "model": absolute})
    app = replace(config.app, nextcloud_url=None)
    return replace(config, app=app, storage=folder, database_url=None, embedding=embedding, reranker=reranker)


def _remove(folder: Path) -> None:
    note = folder / "postgres.location"
    if note.exists():  # as root the database may lie elsewhere
        shutil.rmtree(note.read_text(encoding="utf-8").strip(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _counting(told: Callable[[str, int, int], None], what: str) -> Callable[[int, int], None]:
    return lambda done, whole: told(what, done, whole)
