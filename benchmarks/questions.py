# SPDX-License-Identifier: AGPL-3.0-or-later
"""Question latency over HTTP: `python -m benchmarks.questions [--sources 2000] [--json]`.

Fills the real program with texts of 10 kB (hashing embedder, so that filling is quick), then asks /docSearch and /query
one at a time and ten at a time, for a user who may read all and for one who may read one source in a hundred.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx

from benchmarks.indexing import text
from tests.conftest import open_folder
from tests.program import Program, headers, part

_QUESTIONS = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = open_folder()
    (folder / "config.yaml").write_text("embedding:\n  hashing:\n", encoding="utf-8")
    try:
        with Program(folder) as program:
            questions = fill(program, arguments.sources)
            rows = [
                measured(program, path, user, at_once, questions)
                for path in ("/docSearch", "/query")
                for user in ("all", "few")
                for at_once in (1, 10)
            ]
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps({"sources": arguments.sources, "rows": rows}))
        return
    print(f"{arguments.sources} sources; milliseconds")
    print(f"{'route':>10} {'user reads':>10} {'at once':>7} {'p50':>7} {'p95':>7}")
    for row in rows:
        print(f"{row['route']:>10} {row['user']:>10} {row['at_once']:>7} {row['p50_ms']:>7} {row['p95_ms']:>7}")


def fill(program: Program, sources: int) -> list[str]:
    """Index the texts; returns questions made of their words."""
    random.seed(7)
    numbers = iter(range(1, sources + 1))
    questions: list[str] = []
    while batch := list(islice(numbers, 25)):
        texts = [text(10_000) for _ in batch]
        questions += [" ".join(random.sample(body.decode().split(), 6)) for body in texts]
        parts = [
            part(f"files__default: {n}", body, users="all,few" if n % 100 == 0 else "all")
            for n, body in zip(batch, texts, strict=True)
        ]
        program.load(parts).raise_for_status()
    program.wait_for_indexed(sources, seconds=3600)
    return random.sample(questions, min(_QUESTIONS, len(questions)))


def measured(program: Program, path: str, user: str, at_once: int, questions: list[str]) -> dict[str, object]:
    """Latencies of the questions, `at_once` of them at a time."""
    with httpx.Client(base_url=program.client.base_url, headers=headers(), timeout=300) as client:

        def ask(question: str) -> float:
            started = time.perf_counter()
            client.post(path, json={"query": question, "userId": user}).raise_for_status()
            return (time.perf_counter() - started) * 1000

        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(ask, questions[:10]))
            latencies = sorted(threads.map(ask, questions))
    return {
        "route": path,
        "user": user,
        "at_once": at_once,
        "p50_ms": round(statistics.median(latencies), 1),
        "p95_ms": round(latencies[int(len(latencies) * 0.95) - 1], 1),
    }


if __name__ == "__main__":
    main()
