# SPDX-License-Identifier: AGPL-3.0-or-later
"""Index a data set with the real program in a folder of its own, ask all its questions, and keep the rankings.

Nothing of the user's is touched: the database is the bundled one, in a folder of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from context_chat_backend import __version__, words
from context_chat_backend.config import Config
from context_chat_backend.domain import Delivery, Passage, Principal, Question, Realm, SourceRef, clean_title
from context_chat_backend.errors import InvalidRequest, SourceRejected
from context_chat_backend.evaluation.configurations import Configuration, Index, Ranks
from context_chat_backend.evaluation.datasets import DataSet, Document
from context_chat_backend.evaluation.measures import DEPTH
from context_chat_backend.settings import ModelChoice
from context_chat_backend.store.search import Weights
from context_chat_backend.store.words import forget_words
from context_chat_backend.wiring import Backend

READER = Principal(Realm.LOCAL, "evaluation")
_PROVIDER = "local__evaluation"
_AT_ONCE = 4
_ROOM_SECONDS = 600.0
_NOTE = "indexed.json"
_LISTED = 80
"""Passages of each list that ranks are taken of."""
_WITHOUT_QUOTATION_MARKS = str.maketrans(dict.fromkeys('"“”„«»「」'))


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
    *,
    storage: Path | None = None,
    told: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> list[Measured]:
    """Run `data` through the program as `config` describes it, once for each configuration, in their order.

    In `storage` indexes are kept, and used again for the same documents and configuration. `told` is called with what
    is done, how much of it, and of how much. Raises InvalidRequest when a configuration cannot be, and whatever
    starting the program raises.
    """
    _check(config, configurations)
    measured: dict[str, Measured] = {}
    for index, reranked in dict.fromkeys((each.index, each.reranked) for each in configurations):
        indexed = _indexed_as(config, index)
        running = indexed if reranked else replace(indexed, reranker=ModelChoice("none"))
        with nullcontext() if index.compounds else _compounds_left_whole():
            folder = None if storage is None else storage / _digest(data, index, indexed)
            async with program(running, folder) as backend:
                keys = await _kept_or_filled(backend, data, index, folder, _counting(told, "indexing"))
                for each in configurations:
                    if (each.index, each.reranked) == (index, reranked):
                        told_questions = _counting(told, each.name)
                        rankings = await ask(backend, data, keys, each, told_questions)
                        measured[each.name] = Measured(each, rankings, len(data.documents) - len(keys))
    return [measured[each.name] for each in configurations]


@asynccontextmanager
async def program(config: Config, folder: Path | None = None) -> AsyncIterator[Backend]:
    """The program, running on the database in `folder`; without, on an empty one, which is removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="context-chat-evaluation-")) if folder is None else folder
    try:
        backend = Backend(_apart(config, place))
        await backend.start()
        try:
            yield backend
        finally:
            await backend.close()
    finally:
        if folder is None:
            await asyncio.to_thread(_remove, place)


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
    keys: Mapping[SourceRef, str],
    configuration: Configuration,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Ranking]:
    """The ranking for each question, as a search for sources gives it."""
    rankings: list[Ranking] = []
    for start in range(0, len(data.questions), _AT_ONCE):
        told(start, len(data.questions))
        texts = [asked.text for asked in data.questions[start : start + _AT_ONCE]]
        if not configuration.quoted:
            texts = [text.translate(_WITHOUT_QUOTATION_MARKS) for text in texts]
        questions = [Question(text, READER, limit=DEPTH) for text in texts]
        for found in await asyncio.gather(
            *(_search(backend, question, configuration.weights) for question in questions)
        ):
            similarity = max((similarity for _, similarity in found), default=-1.0)
            rankings.append(Ranking(tuple(keys[ref] for ref, _ in found), similarity))
    return rankings


async def _search(
    backend: Backend, question: Question, weights: Weights | Ranks | None
) -> list[tuple[SourceRef, float]]:
    """Sources, best first, with their similarities."""
    if not isinstance(weights, Ranks):
        return [(source.ref, source.similarity) for source in await backend.find_sources(question, weights)]
    longer = replace(question, limit=_LISTED)
    scores: dict[int, float] = {}
    passages: dict[int, Passage] = {}
    for weight, alone in ((weights.meaning, Weights(words=0.0)), (1.0, Weights(meaning=0.0))):
        for rank, passage in enumerate(await backend.find_passages(longer, alone), start=1):
            passages[passage.chunk_id] = passage
            scores[passage.chunk_id] = scores.get(passage.chunk_id, 0.0) + weight / (weights.k + rank)
    found: dict[SourceRef, float] = {}
    for chunk_id in sorted(scores, key=lambda id_: (-scores[id_], id_)):
        found.setdefault(passages[chunk_id].source, passages[chunk_id].similarity)
    return list(found.items())[: question.limit]


async def _kept_or_filled(
    backend: Backend, data: DataSet, index: Index, folder: Path | None, told: Callable[[int, int], None]
) -> dict[SourceRef, str]:
    """What is indexed, by source; a note in a kept folder tells it, once all of it is."""
    note = None if folder is None else folder / _NOTE
    if note is not None and note.exists():
        return {SourceRef.parse(ref): key for ref, key in json.loads(note.read_text(encoding="utf-8")).items()}
    keys = await fill(backend, data.documents, titled=index.titled, told=told)
    if note is not None:
        note.write_text(json.dumps({str(ref): key for ref, key in keys.items()}), encoding="utf-8")
    return keys


def _check(config: Config, configurations: Sequence[Configuration]) -> None:
    for each in configurations:
        if each.index.quantised is not None and (
            config.embedding.name != "onnx" or config.embedding.options.get("model")
        ):
            raise InvalidRequest(
                f"--configuration {each.name}: precisions are of the packaged model, and config.yaml chooses another: "
                "leave +int8 and +fp32 out"
            )
        if not each.reranked and config.reranker.name == "none":
            raise InvalidRequest(
                f"--configuration {each.name}: config.yaml chooses no re-ranker: leave +unranked out, or choose one"
            )


def _indexed_as(config: Config, index: Index) -> Config:
    """The user's configuration with what `index` changes of it."""
    embedding, indexing = config.embedding, config.indexing
    if index.quantised is not None:
        embedding = ModelChoice(embedding.name, {**embedding.options, "quantised": index.quantised})
    if index.chunk_tokens is not None and index.chunk_overlap_tokens is not None:
        indexing = replace(indexing, chunk_tokens=index.chunk_tokens, chunk_overlap_tokens=index.chunk_overlap_tokens)
    return replace(config, embedding=embedding, indexing=indexing)


def _apart(config: Config, folder: Path) -> Config:
    """The configuration with nothing of the user's data in reach; models are read from where they lie."""
    models = config.storage / "models"
    return replace(
        config,
        app=replace(config.app, nextcloud_url=None),
        storage=folder,
        database_url=None,
        embedding=_read_from(config.embedding, models),
        reranker=_read_from(config.reranker, models),
    )


def _read_from(model: ModelChoice, models: Path) -> ModelChoice:
    name = model.options.get("model")
    if not name or not (models / str(name)).exists():
        return model
    return ModelChoice(model.name, {**model.options, "model": str((models / str(name)).absolute())})


def _digest(data: DataSet, index: Index, config: Config) -> str:
    """The name of the folder for an index: other documents or another way to index them give another."""
    indexing = config.indexing
    parts: list[object] = [
        __version__,
        index.titled,
        index.compounds,
        config.embedding.name,
        sorted((name, str(value)) for name, value in config.embedding.options.items()),
        (indexing.chunk_tokens, indexing.chunk_overlap_tokens),
    ]
    for document in data.documents:
        file = None if document.path is None else document.path.stat()
        parts.append((document.key, document.title, document.text, file and (file.st_size, file.st_mtime_ns)))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()[:16]


@contextmanager
def _compounds_left_whole() -> Iterator[None]:
    """No word is taken apart, at indexing and at asking: the one lever the program takes as no parameter anywhere."""
    namespace = vars(words)
    usual = namespace["parts"]
    # Nothing is remembered meanwhile, nor taken from what was remembered before.
    forget_words()
    namespace["parts"] = lambda _word, _language: ()
    try:
        yield
    finally:
        namespace["parts"] = usual
        forget_words()


def _remove(folder: Path) -> None:
    note = folder / "postgres.location"
    if note.exists():  # as root the database may lie elsewhere
        shutil.rmtree(note.read_text(encoding="utf-8").strip(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _counting(told: Callable[[str, int, int], None], what: str) -> Callable[[int, int], None]:
    return lambda done, whole: told(what, done, whole)
