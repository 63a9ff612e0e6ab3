# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the program adds to its models, and how many questions it answers:
`python -m benchmarks.answers [--chunks 10000] [--storage FOLDER] [--json]`.

Fills a database (benchmarks/corpus.py, its texts cut into sentences), serves it as the program does, and asks POST
/query over HTTP for users of different rights. The embedding model costs nothing: vectors of the questions are known.
First a language model answers that costs nothing either: what is left is the program. Then `extractive` answers.

`--storage` keeps the filled database for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpus import CHUNKS_PER_SOURCE, READERS, SPACE, Corpus
from benchmarks.percentiles import percentile
from benchmarks.search import load
from context_chat_backend.cli.app import main as program
from context_chat_backend.domain import EmbeddingSpace, Ended, Finish, Prompt, Usage
from context_chat_backend.inference.embedding.estimate import token_starts
from context_chat_backend.ports import Vectors
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.spaces import Spaces
from context_chat_backend.wiring import models
from tests.conftest import open_folder
from tests.program import Program, headers

WRITERS = ("instant", "extractive")
_WARMING = 100
_WORDS_PER_SENTENCE = 12


class SpokenCorpus(Corpus):
    """The corpus, its texts cut into sentences."""

    def texts(self, source: int) -> list[str]:
        """See Corpus."""
        return [" ".join(_sentences(text.split())) for text in super().texts(source)]


def _sentences(words: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(words), _WORDS_PER_SENTENCE):
        yield " ".join(words[start : start + _WORDS_PER_SENTENCE]).capitalize() + "."


class KnownQuestions:
    """An embedder that costs nothing: it knows the vectors of the questions."""

    space: EmbeddingSpace = SPACE
    max_tokens = 512
    device = "none"

    def __init__(self, corpus: Corpus, count: int) -> None:
        self._vectors = {asked.text: asked.vector for asked in corpus.questions(count)}

    def token_starts(self, text: str) -> Sequence[int]:
        """Estimated."""
        return token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Nothing is indexed here."""
        raise NotImplementedError

    async def embed_question(self, text: str) -> NDArray[np.float32]:
        """The vector of a question."""
        return self._vectors[text] if text in self._vectors else next(iter(self._vectors.values()))

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""


class InstantWriter:
    """A language model that costs nothing and cites."""

    name = "instant"
    answer_tokens = 1024

    async def context_tokens(self) -> int:
        """As many as twenty passages need."""
        return 32_768

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Estimated."""
        return [len(text) // 4 + 1 for text in texts]

    async def stream(self, _prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        """The same for all."""
        for piece in ("This is ", "what is said ", "about it [1].", " There is more [2][3]."):
            yield piece
        yield Ended(Finish.STOP, Usage(1000, 20))

    async def close(self) -> None:
        """Nothing is held."""


def main() -> int:
    """Measure and print; or serve, as the measuring process asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--writer", choices=WRITERS, action="append", help="one of both alone")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--storage", type=Path)
    parser.add_argument("--fill-only", action="store_true", help="for a measurement that is to be short")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=WRITERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    corpus = SpokenCorpus(arguments.chunks // CHUNKS_PER_SOURCE)
    count = arguments.questions + _WARMING
    if arguments.serve:
        return serve(arguments.serve, KnownQuestions(corpus, count))
    storage = arguments.storage or open_folder()
    try:
        loading = asyncio.run(fill(storage, corpus))
        (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n", encoding="utf-8")
        if arguments.fill_only:
            return 0
        questions = [asked.text for asked in corpus.questions(count)]
        found = measured(storage, arguments.chunks, questions, arguments.at_once, arguments.writer or WRITERS) | {
            "loading_seconds": loading
        }
    finally:
        if arguments.storage is None:
            shutil.rmtree(storage)
    print(json.dumps(found) if arguments.json else table(found))
    return 0


async def fill(storage: Path, corpus: Corpus) -> dict[str, float]:
    """Load the database, unless it is there."""
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        await install_schema(url)
        database = Database(url)
        await database.open()
        loading = await load(url, database, corpus, await Spaces(database).ensure(SPACE))
        await database.close()
    finally:
        await server.stop()
    return loading


def serve(writer: str, embedder: KnownQuestions) -> int:
    """The program with models that cost nothing."""
    setattr(models, "build_embedder", lambda *_given, **_options: embedder)  # noqa: B010
    if writer == "instant":
        setattr(models, "build_language_model", lambda *_given, **_options: InstantWriter())  # noqa: B010
    return program(["serve"])


def measured(storage: Path, chunks: int, questions: list[str], at_once: int, writers: Sequence[str]) -> dict[str, Any]:
    """All figures of one size."""
    options = ["--chunks", str(chunks), "--questions", str(len(questions) - _WARMING)]
    warming, asked = questions[-_WARMING:], questions[:-_WARMING]
    rows: list[dict[str, Any]] = []
    for writer in writers:
        with Program(storage, command=("-m", "benchmarks.answers", "--serve", writer, *options)) as running:
            for reader in READERS[:3]:
                asyncio.run(ask(running.port, reader, warming, 1))
                one, _ = asyncio.run(ask(running.port, reader, asked, 1))
                many, seconds = asyncio.run(ask(running.port, reader, asked, at_once))
                rows.append({
                    "writer": writer,
                    "reader": reader,
                    "p50_ms": round(statistics.median(one), 1),
                    "p95_ms": round(percentile(one, 95), 1),
                    "p95_ms_at_once": round(percentile(many, 95), 1),
                    "questions_per_second": round(len(asked) / seconds, 1),
                })  # fmt: skip
    overhead = max((row["p95_ms"] for row in rows if row["writer"] == "instant"), default=None)
    rate = min((row["questions_per_second"] for row in rows if row["writer"] == "extractive"), default=None)
    return {
        "chunks": chunks,
        "at_once": at_once,
        "overhead_p95_ms": overhead,
        "questions_per_second": rate,
        "rows": rows,
    }


async def ask(port: int, reader: str, questions: Sequence[str], at_once: int) -> tuple[list[float], float]:
    """Milliseconds of each question, and seconds of all; `at_once` connections, each asking one after the other."""
    waiting = iter(questions)
    latencies: list[float] = []

    async def connection() -> None:
        incoming, outgoing = await asyncio.open_connection("127.0.0.1", port)
        for question in waiting:
            started = time.perf_counter()
            outgoing.write(_request(question, reader))
            await _answer(incoming)
            latencies.append((time.perf_counter() - started) * 1000)
        outgoing.close()
        await outgoing.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(at_once)))
    return latencies, time.perf_counter() - started


def _request(question: str, reader: str) -> bytes:
    body = json.dumps({"query": question, "userId": reader}).encode()
    fields = headers() | {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /query HTTP/1.1\r\n{head}\r\n".encode() + body


async def _answer(incoming: asyncio.StreamReader) -> None:
    """Read one answer, which must be a success with a source."""
    head = (await incoming.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    body = json.loads(await incoming.readexactly(length))
    if " 200 " not in head or not body["sources"]:
        raise AssertionError(f"{head}\n{body}")


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{found['chunks']} chunks; milliseconds; {found['at_once']} at once; loading {found['loading_seconds']}",
        f"{'writer':>11} {'reader':>10} {'p50':>7} {'p95':>7} {'p95 at once':>12} {'questions/s':>12}",
    ]
    lines += [
        f"{row['writer']:>11} {row['reader']:>10} {row['p50_ms']:>7} {row['p95_ms']:>7} {row['p95_ms_at_once']:>12} "
        f"{row['questions_per_second']:>12}"
        for row in found["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
