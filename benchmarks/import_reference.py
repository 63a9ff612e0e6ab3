# SPDX-License-Identifier: AGPL-3.0-or-later
"""Taking over an index of the reference: `python -m benchmarks.import_reference [--chunks 100000] [--dimension 1024]`.

Tables as the reference writes them, in the embedded PostgreSQL: chunks of 2 000 characters, ten to a source, vectors of
the dimension of its default model, readers in a hundred different sets. Timed is the whole of `context-chat
import-reference` but the comparison of models: reading, words, vectors, building both indexes, verification.
`--other-model` leaves the vectors to be made in the background.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import time
from collections.abc import Iterator
from datetime import UTC

import numpy as np

from benchmarks.corpus import CHUNKS_PER_SOURCE, Corpus
from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.indexing.takeover import ReferenceImport
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.reference import Reference
from context_chat_backend.store.spaces import Spaces
from context_chat_backend.store.takeover import Takeover
from tests.conftest import open_folder
from tests.old_index import Old, write

_SETS = 100
_AT_ONCE = 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--other-model", action="store_true")
    arguments = parser.parse_args()
    folder = open_folder()
    try:
        measured = asyncio.run(measure(folder, arguments.chunks, arguments.dimension, not arguments.other_model))
        print(json.dumps(measured, indent=1))
    finally:
        shutil.rmtree(folder)


async def measure(folder: object, chunks: int, dimension: int, with_vectors: bool) -> dict[str, object]:
    """Seconds of each step."""
    server = EmbeddedPostgres(folder)  # type: ignore[arg-type]
    url = await server.start()
    database = Database(url)
    try:
        await install_schema(url)
        await database.open()
        corpus = Corpus(chunks // CHUNKS_PER_SOURCE)
        for first in range(0, corpus.sources, _AT_ONCE):
            last = min(first + _AT_ONCE, corpus.sources)
            write(url, old_sources(corpus, first, last, dimension))
        stored = await Spaces(database).ensure(EmbeddingSpace("benchmark", dimension))
        indexes = SearchIndexes(database, stored)
        used, started = cpu_seconds(), time.monotonic()
        seconds: dict[str, float] = {}
        await indexes.drop()
        run = ReferenceImport(Reference(database), Takeover(database), (), zone=UTC)
        outcome = await run.run(stored if with_vectors else None, into_tail=False)
        seconds["take over"] = time.monotonic() - started
        for name in indexes.names:
            began = time.monotonic()
            await indexes.build(name, memory=usable_memory() // 4, workers=usable_cores() - 1)
            seconds[f"build {name}"] = time.monotonic() - began
        began = time.monotonic()
        await run.verify(outcome)
        seconds["verify"] = time.monotonic() - began
        return {
            "chunks": outcome.chunks,
            "dimension": dimension,
            "with_vectors": with_vectors,
            "wrong": outcome.wrong,
            "seconds": {name: round(taken, 1) for name, taken in seconds.items()},
            "seconds_in_all": round(time.monotonic() - started, 1),
            "cpu_seconds_of_python": round(cpu_seconds() - used, 1),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    finally:
        await database.close()
        await server.stop()


def cpu_seconds() -> float:
    """What this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def old_sources(corpus: Corpus, first: int, last: int, dimension: int) -> Iterator[Old]:
    """Sources with chunks of some 2 000 characters; neighbours in 384 dimensions are neighbours here."""
    for number in range(first, last):
        texts = corpus.texts(number)
        vectors = np.tile(corpus.vectors(number), (1, -(-dimension // 384)))[:, :dimension]
        yield Old(
            f"files__default: {number}",
            [f"{text} {texts[place - 1]}"[:2000] for place, text in enumerate(texts)],
            ["all", *(f"user{one}" for one in range(number % _SETS))],
            f"files/folder {number % 50}/{number}.md",
            vectors=vectors,
        )


if __name__ == "__main__":
    main()
