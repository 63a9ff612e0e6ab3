# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the pruning of the word stage costs: `python -m benchmarks.pruning [--sources 10000] [--every 12] [--json]`.

XQuAD in all six languages is indexed among synthetic chunks whose words are those of XQuAD, as frequent as there, so
that terms of the questions are held by many chunks and the word stage has to leave chunks out. The same questions are
ranked by the function of the program, and by one that differs in its bounds alone and scans all that is visible.
Prints nDCG@10, recall and MRR of both, and their difference question by question.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.corpus import DIMENSION, Corpus, fill
from context_chat_backend import config
from context_chat_backend.domain import Question, SourceRef
from context_chat_backend.evaluation import datasets, report
from context_chat_backend.evaluation.configurations import Configuration
from context_chat_backend.evaluation.datasets import DataSet, Document
from context_chat_backend.evaluation.measures import DEPTH
from context_chat_backend.evaluation.run import READER, Measured, Ranking
from context_chat_backend.evaluation.run import fill as index
from context_chat_backend.hardware import usable_memory
from context_chat_backend.settings import ModelChoice
from context_chat_backend.store.database import statement
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.indexes import WORDS
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import StoredSpace
from context_chat_backend.store.words import WordSample
from context_chat_backend.wiring import Backend
from tests.acceptance.test_xquad import DATA
from tests.conftest import open_folder

_WORD = re.compile(r"\w+")
_BOUNDS = {"few_sources": 2000, "few_chunks": 15_000, "scanned_chunks": 4000}
"""Constants of the function, which no index is large enough for in the other one."""
_BOUNDLESS = 1_000_000_000


class Exhaustive(StoredSpace):
    """The same space, searched by the function without bounds."""

    @property
    def function(self) -> sql.Identifier:
        """That function."""
        return sql.Identifier("passages_exhaustive")


async def main() -> None:
    """Fill, ask both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10_000, help="synthetic ones, of ten chunks each")
    parser.add_argument("--every", type=int, default=12, help="ask every so many questions only")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = datasets.xquad(DATA, datasets.LANGUAGES, datasets.LANGUAGES)
    data = replace(data, questions=data.questions[:: arguments.every])
    folder = open_folder()
    server = EmbeddedPostgres(folder)
    url = await server.start()
    try:
        measured = await compared(url, folder, data, arguments.sources)
    finally:
        await server.stop()
        shutil.rmtree(folder)
    rows = report.rows(data, measured)
    if arguments.json:
        print(json.dumps(report.as_json(data, measured, rows)))
        return
    for row in rows:
        print(row.group, row.configuration, {name: round(value.mean, 4) for name, value in row.measures.items()})
        print(" ", {name: f"{value.mean:+.4f}" for name, value in row.differences.items()})


async def compared(url: str, folder: Path, data: DataSet, sources: int) -> list[Measured]:
    """The rankings of both functions; words alone are compared, so an embedder that costs nothing will do."""
    settings = config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=2)
    embedding = ModelChoice("hashing", {"dimension": DIMENSION})
    backend = Backend(replace(settings, database_url=config.Secret(url), embedding=embedding))
    await backend.start()
    try:
        space = backend.spaces.answering.stored
        indexes = backend.search_indexes
        await indexes.drop()
        await asyncio.to_thread(fill_with_words_of, url, data.documents, sources, space)
        await indexes.build(WORDS, memory=usable_memory() // 4, workers=1)
        keys = await index(backend, data.documents)
        await WordSample(backend.database).renew()
        exhaustive = Exhaustive(space.id, space.space)
        await asyncio.to_thread(create_exhaustive, url, exhaustive)
        search = Search(backend.database)
        measured = []
        for name, chosen in (("exhaustive", exhaustive), ("pruned", space)):
            rankings = [await ranking(search, asked.text, keys, chosen) for asked in data.questions]
            measured.append(Measured(Configuration(name, Weights(meaning=0.0)), rankings, rejected=0))
        return measured
    finally:
        await backend.close()


def fill_with_words_of(url: str, documents: Sequence[Document], sources: int, space: StoredSpace) -> None:
    """Synthetic sources that READER may read, of words as frequent as in the documents."""
    corpus = Corpus(sources)
    counted = Counter(word for each in documents for word in _WORD.findall(each.text.lower()))
    known = [word for word, _ in counted.most_common(len(corpus.words))]
    corpus.words[: len(known)] = known
    fill(url, corpus, space.table)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE source SET realm = %s", (READER.realm,))
        connection.execute(
            "WITH reader AS (INSERT INTO principal (realm, name, hash) VALUES (%s, %s, 1e20) RETURNING id) "
            "INSERT INTO access_member (access_set_id, principal_id) SELECT access_set.id, reader.id "
            "FROM access_set, reader",
            (READER.realm, READER.name),
        )
        for table, last in (("source", corpus.sources), ("chunk", corpus.chunks)):
            connection.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", (table, last))
        connection.execute("ANALYZE")


def create_exhaustive(url: str, space: StoredSpace) -> None:
    """The function of the program with bounds that nothing reaches."""
    text = statement("search", "create_function")
    for name, value in _BOUNDS.items():
        line = f"{name} CONSTANT integer := {value};"
        assert line in text, f"the function has no line '{line}' any more"
        text = text.replace(line, f"{name} CONSTANT integer := {_BOUNDLESS};")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement("search", "load_vector"))
        connection.execute(
            sql.SQL(text).format(
                function=space.function,
                embedding=space.table,
                index=sql.Literal(space.index),
                within_scope=sql.SQL(statement("search", "within_scope")),
            )
        )


async def ranking(search: Search, text: str, keys: Mapping[SourceRef, str], space: StoredSpace) -> Ranking:
    """Documents by their best passage; synthetic sources take places, and have no names."""
    found = await search.passages(Question(text, READER, limit=4 * DEPTH), None, space, Weights(meaning=0.0))
    sources = dict.fromkeys(passage.source for passage in found)
    return Ranking(tuple(keys.get(ref, "") for ref in list(sources)[:DEPTH]), -1.0)


if __name__ == "__main__":
    asyncio.run(main())
