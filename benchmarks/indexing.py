# SPDX-License-Identifier: AGPL-3.0-or-later
"""Indexing rate over HTTP: `python -m benchmarks.indexing --embedder instant|onnx|llama [--json]`.

Pushes texts of 10 kB as Nextcloud does (25 in a request) to the real program, waits until all are indexed, and asks for
the last one. With `--embedder instant` the model costs nothing: what is left is the program. The reference indexed 33
such sources/s with an embedding that answered at once. CPU time per source is printed by process and by step; the
client that pushes shares the machine and is listed too.

`--chunks 100000` fills the index before (benchmarks/corpus.py; with `instant` only); `--filled FOLDER` keeps the filled
storage there for the next run. `--copies 3` pushes each text three times, under other names in other folders;
`--bytes` is how long a text is.

With `onnx` and `llama` (which needs the extra of that name) the same model process is then given the chunks of some of
the texts while the program is idle: `pipeline_to_model` is what the pipeline reaches of that rate. The memory of the
program, its processes included and PostgreSQL left out (PSS), is read at each tenth of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import threading
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from benchmarks.corpus import CHUNKS_PER_SOURCE, SPACE, Corpus
from benchmarks.minilm import write_minilm_q8
from benchmarks.search import load
from context_chat_backend.config import load as load_configuration
from context_chat_backend.domain import Document, Part
from context_chat_backend.hardware import usable_cores
from context_chat_backend.indexing.chunking import split
from context_chat_backend.indexing.embedding import BATCH
from context_chat_backend.indexing.preparing import embedded_text
from context_chat_backend.inference.embedding import build_embedder
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.spaces import Spaces
from tests.conftest import open_folder
from tests.memory import descendants, used_bytes
from tests.program import Program, part

_REFERENCE_SOURCES_PER_SECOND = 33.0
_BYTES = 10_000
_CONFIGURATION = {"instant": "hashing", "onnx": "onnx", "llama": "llama"}
_GGUF = "minilm-q8_0.gguf"
_TEXTS_FOR_MODEL_ALONE = 40
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", choices=tuple(_CONFIGURATION), default="instant")
    parser.add_argument("--sources", type=int, default=2000)
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=_BYTES)
    parser.add_argument("--filled", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.chunks and arguments.embedder != "instant":
        parser.error("--chunks goes with --embedder instant: the vectors are made up")
    folder = open_folder()
    storage = folder / "storage"
    try:
        prepare(storage, arguments.chunks, arguments.filled)
        configure(storage, arguments.embedder)
        bodies = [text(arguments.bytes) for _ in range(arguments.sources // arguments.copies)] * arguments.copies
        result = run(storage, bodies, arguments.embedder, arguments.chunks)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result) if arguments.json else table(result))


def configure(storage: Path, embedder: str) -> None:
    """Write the configuration, and the model that llama.cpp runs."""
    options = {"model": _GGUF} if embedder == "llama" else {}
    if options:
        (storage / "model_files").mkdir(exist_ok=True)
        write_minilm_q8(storage / "model_files" / _GGUF)
    (storage / "config.yaml").write_text(
        json.dumps({"embedding": {_CONFIGURATION[embedder]: options}}), encoding="utf-8"
    )


def prepare(storage: Path, chunks: int, filled: Path | None) -> None:
    """A storage with so many chunks in its database, copied from `filled` where that is there."""
    if filled is None or not filled.exists():
        place = filled or storage
        place.mkdir(mode=0o755)
        if chunks:
            asyncio.run(_fill(place, Corpus(chunks // CHUNKS_PER_SOURCE)))
    if filled is not None:
        shutil.copytree(filled, storage, symlinks=True, copy_function=_copy_with_owner)
        for path in (filled, *filled.rglob("*")):
            owner = path.lstat()
            os.chown(storage / path.relative_to(filled), owner.st_uid, owner.st_gid, follow_symlinks=False)


def _copy_with_owner(source: str, target: str) -> None:
    shutil.copy2(source, target, follow_symlinks=False)


async def _fill(storage: Path, corpus: Corpus) -> None:
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        await install_schema(url)
        database = Database(url)
        await database.open()
        spaces = Spaces(database)
        space = await spaces.ensure(SPACE)
        await load(url, database, corpus, space)
        async with database.transaction() as connection:  # ids were given, not drawn
            await connection.execute("SELECT setval(pg_get_serial_sequence('source', 'id'), max(id)) FROM source")
            await connection.execute("SELECT setval(pg_get_serial_sequence('chunk', 'id'), max(id)) FROM chunk")
        await database.close()
    finally:
        await server.stop()


def run(storage: Path, bodies: list[bytes], embedder: str, chunks: int) -> dict[str, Any]:
    """Start the program, push, wait, search, stop; all figures."""
    steps = storage / "steps.json"
    command = ["-m", "benchmarks.service", *(["--instant"] if embedder == "instant" else []), str(steps)]
    load_before = os.getloadavg()[0]
    with Program(storage, command=command) as program:
        program.load([part("files__warm: 0", b"warm the parsers and the model")])
        program.wait_for_indexed(1 + chunks // CHUNKS_PER_SOURCE)
        assert program.process is not None
        before = cpu_seconds(program)
        with Memory(program.process.pid) as memory:
            result = measured(program, bodies, already=1 + chunks // CHUNKS_PER_SOURCE)
        after = cpu_seconds(program)
        if embedder != "instant":
            alone = asyncio.run(chunks_per_second_of_model(program, bodies[:_TEXTS_FOR_MODEL_ALONE]))
            result["chunks_per_second_of_model_alone"] = round(alone, 1)
            result["pipeline_to_model"] = round(result["chunks_per_second"] / alone, 3)
    per_source = {name: after[name] - before[name] for name in after}
    known = {f"service: {name}": seconds for name, seconds in json.loads(steps.read_text(encoding="utf-8")).items()}
    per_source["service: HTTP, spooling, the rest"] = per_source.pop("service") - sum(known.values())
    milliseconds = {name: round(1000 * s / len(bodies), 2) for name, s in sorted((per_source | known).items())}
    return {
        "embedder": embedder,
        "chunks_before": chunks,
        "sources": len(bodies),
        "load_before": round(load_before, 1),
        **result,
        "memory_megabytes_at_tenths": memory.at_tenths(),
        "cpu_milliseconds_per_source": milliseconds | {"all": round(sum(milliseconds.values()), 2)},
    }


def measured(program: Program, bodies: list[bytes], already: int) -> dict[str, Any]:
    """Push the texts, wait, and count."""
    requests = []
    numbers = iter(enumerate(bodies))
    while batch := list(islice(numbers, 25)):
        requests.append([part(f"files__new: {n}", body, title=f"files/{n}/{n}.txt") for n, body in batch])
    started = time.perf_counter()
    for request in requests:
        program.load(request).raise_for_status()
    pushed = time.perf_counter() - started
    program.wait_for_indexed(already + len(bodies), seconds=3600)
    seconds = time.perf_counter() - started
    sentence = bodies[-1].decode().split("\n")[3]
    found = program.search("alice", sentence, limit=20)
    chunks = asyncio.run(count_chunks(program))
    return {
        "seconds_until_acknowledged": round(pushed, 2),
        "seconds_until_indexed": round(seconds, 2),
        "sources_per_second": round(len(bodies) / seconds, 1),
        "chunks_per_second": round(chunks / seconds, 1),
        "searchable_at_once": f"files__new: {len(bodies) - 1}" in found,
        "ratio_to_reference": round(len(bodies) / seconds / _REFERENCE_SOURCES_PER_SECOND, 2),
    }


class Memory:
    """Reads the memory of the program every second while this is entered."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._read: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def at_tenths(self) -> list[int]:
        """Megabytes, from the first reading to the last."""
        return [self._read[tenth * (len(self._read) - 1) // 10] // 10**6 for tenth in range(11)]

    def _look(self) -> None:
        while not self._read or not self._ended.wait(1):
            self._read.append(used_bytes(descendants(self._pid)))


async def chunks_per_second_of_model(program: Program, bodies: list[bytes]) -> float:
    """The rate of the program's own model process, given chunks as the program gives them."""
    config = load_configuration(program.environment, cores=usable_cores())
    embedder = build_embedder(
        config.embedding.name,
        config.embedding.options,
        models=program.storage / "model_files",
        threads=config.indexing.embedding_threads,
    )
    await embedder.open()
    texts = [
        embedded_text(f"files/{n}/{n}.txt", chunk)
        for n, body in enumerate(bodies)
        for chunk in split(
            Document((Part(body.decode()),)),
            f"files/{n}/{n}.txt",
            embedder.token_starts,
            max_tokens=min(config.indexing.chunk_tokens, embedder.max_tokens),
            overlap_tokens=config.indexing.chunk_overlap_tokens,
        )
    ]
    batches = iter([texts[start : start + BATCH] for start in range(0, len(texts), BATCH)])

    async def embed_batches() -> None:
        for batch in batches:
            await embedder.embed_passages(batch)

    await embedder.embed_passages(texts[:2])
    started = time.perf_counter()
    await asyncio.gather(embed_batches(), embed_batches())
    seconds = time.perf_counter() - started
    await embedder.close()
    return len(texts) / seconds


async def count_chunks(program: Program) -> int:
    """How many chunks were made of what was pushed."""
    server = EmbeddedPostgres(program.storage)
    async with await psycopg.AsyncConnection.connect(await server.start()) as connection:
        rows = await connection.execute("SELECT sum(chunk_count) FROM source WHERE provider = 'files__new'")
        row = await rows.fetchone()
    await server.stop()
    return int(row[0]) if row else 0


def cpu_seconds(program: Program) -> dict[str, float]:
    """CPU time so far of the client, the service, its parser processes and the database."""
    assert program.process is not None
    stats = {int(path.name): _stat(path) for path in Path("/proc").glob("[0-9]*")}
    service = program.process.pid
    database = _postmaster(program.storage, stats)
    seconds = defaultdict(float, client=time.process_time())
    for pid, stat in stats.items():
        if stat is None:
            continue
        parent, own, buried, title = stat
        if pid == service:
            seconds["service"] += own
            seconds["parsers and model"] += buried  # those that were replaced
        elif pid == database:
            seconds["database, background"] += own + buried
        elif parent == service:
            seconds["parsers and model"] += own + buried
        elif parent == database:
            seconds["database, sessions" if "context_chat" in title else "database, background"] += own
    return seconds


def _stat(path: Path) -> tuple[int, float, float, str] | None:
    """Parent, own CPU seconds, those of dead children, and command line of a process; None when it is gone."""
    try:
        fields = (path / "stat").read_text().rpartition(")")[2].split()
        title = (path / "cmdline").read_text(errors="replace")
    except OSError:
        return None
    own, buried = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return int(fields[1]), own / _TICKS, buried / _TICKS, title


def _postmaster(storage: Path, stats: dict[int, Any]) -> int:
    """The server whose data lie in this storage."""
    for pid, stat in stats.items():
        if stat is not None and "postgres" in stat[3] and str(storage) in stat[3]:
            return pid
    sys.exit("the database server of the program was not found")


def table(result: dict[str, Any]) -> str:
    """The figures, one a line."""
    lines = [f"{name:>40}  {value}" for name, value in result.items() if not isinstance(value, dict)]
    lines += [f"{name:>40}  {value} ms" for name, value in result["cpu_milliseconds_per_source"].items()]
    return "\n".join(lines)


def text(size: int = _BYTES) -> bytes:
    """About `size` bytes of sentences of made-up words, each text another."""
    words = ["".join(random.choices("aeioubdfglmnrst", k=random.randint(2, 9))) for _ in range(400)]
    sentences: list[str] = []
    while len(sentences) < size // 70:
        sentences.append(" ".join(random.choices(words, k=12)).capitalize() + ".")
    return "\n".join(sentences)[:size].encode()


if __name__ == "__main__":
    main()
