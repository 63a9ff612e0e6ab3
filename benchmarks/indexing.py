# SPDX-License-Identifier: AGPL-3.0-or-later
"""Indexing rate over HTTP: `python -m benchmarks.indexing [--sources 200] [--embedding hashing] [--json]`.

Pushes texts of 10 kB as Nextcloud does (25 in a request) to the real program and waits until all are indexed. With
`--embedding hashing` the model costs nothing: what is left is the program. The reference indexed 33 such sources/s with
an embedding that answered at once.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from itertools import islice

from tests.conftest import open_folder
from tests.program import Program, part

_REFERENCE_SOURCES_PER_SECOND = 33.0
_BYTES = 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--embedding", choices=("onnx", "hashing"), default="onnx")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = open_folder()
    (folder / "config.yaml").write_text(f"embedding:\n  {arguments.embedding}:\n", encoding="utf-8")
    try:
        with Program(folder) as program:
            program.load([part("files__default: 0", b"warm the parsers and the model")])
            program.wait_for_indexed(1)
            result = measured(program, arguments.sources, arguments.embedding)
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>28}  {value}")


def measured(program: Program, sources: int, embedding: str) -> dict[str, object]:
    """Push `sources` texts, wait, and count."""
    random.seed(7)
    numbers = iter(range(1, sources + 1))
    started = time.perf_counter()
    while batch := list(islice(numbers, 25)):
        program.load(part(f"files__default: {n}", text()) for n in batch).raise_for_status()
    pushed = time.perf_counter() - started
    program.wait_for_indexed(sources + 1, seconds=3600)
    seconds = time.perf_counter() - started
    return {
        "embedding": embedding,
        "sources": sources,
        "seconds_until_acknowledged": round(pushed, 2),
        "seconds_until_indexed": round(seconds, 2),
        "sources_per_second": round(sources / seconds, 1),
        "kB_per_second": round(sources * _BYTES / seconds / 1000, 1),
        "ratio_to_reference": round(sources / seconds / _REFERENCE_SOURCES_PER_SECOND, 2),
    }


def text() -> bytes:
    """About 10 kB of sentences of made-up words, each text another."""
    words = ["".join(random.choices("aeioubdfglmnrst", k=random.randint(2, 9))) for _ in range(400)]
    sentences: list[str] = []
    while len(sentences) < _BYTES // 70:
        sentences.append(" ".join(random.choices(words, k=12)).capitalize() + ".")
    return "\n".join(sentences)[:_BYTES].encode()


if __name__ == "__main__":
    main()
