# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the size of chunks is worth: `python -m benchmarks.chunking --tokens 200 [--overlap 20] [--every 4]`, on XQuAD.

The 48 articles are one document each, in English and in German, and one user may read all of them. Questions are asked
through the real store. Prints for each language how often the text before a model holds the right answer when so many
characters of it fit, how many chunks there are, and how long a text of 10 000 characters takes to be split.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import time
from typing import Any

from benchmarks.shaping import fill, measured
from context_chat_backend import config
from context_chat_backend.domain import Document, Part
from context_chat_backend.indexing.chunking import split
from context_chat_backend.wiring import Backend
from tests.acceptance.test_xquad import DATA
from tests.conftest import open_folder

_LANGUAGES = ("en", "de")
_SPLIT_CHARACTERS = 10_000


async def main() -> None:
    """Index, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--overlap", type=int, default=20)
    parser.add_argument("--every", type=int, default=4, help="ask every so many questions only")
    arguments = parser.parse_args()
    folder = open_folder()
    (folder / "config.yaml").write_text(
        f"chunk_tokens: {arguments.tokens}\nchunk_overlap_tokens: {arguments.overlap}\n", encoding="utf-8"
    )
    backend = Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=4))
    await backend.start()
    try:
        articles = {language: _articles(language) for language in _LANGUAGES}
        started = time.perf_counter()
        await fill(backend, [article for language in _LANGUAGES for article in articles[language]], copies=False)
        seconds = time.perf_counter() - started
        async with backend.database.transaction() as connection:
            row = await (await connection.execute("SELECT count(*) FROM chunk")).fetchone()
        assert row is not None
        print(f"tokens {arguments.tokens}  overlap {arguments.overlap}  chunks {row[0]}  indexed in {seconds:.0f} s")
        for language in _LANGUAGES:
            asked = [
                qa for article in articles[language] for paragraph in article["paragraphs"] for qa in paragraph["qas"]
            ]
            found = await measured(backend._retriever, asked[:: arguments.every])
            print(f"  {language}  " + "  ".join(f"{key} {value}" for key, value in found.items()))
        for language in _LANGUAGES:
            print(f"  {language}  split in {_split_ms(backend, articles[language], arguments):.1f} ms")
    finally:
        await backend.close()
        shutil.rmtree(folder)


def _articles(language: str) -> list[Any]:
    read: list[Any] = json.loads((DATA / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    return read


def _split_ms(backend: Backend, articles: list[Any], arguments: argparse.Namespace) -> float:
    """Milliseconds for one text, the median of 30."""
    text = "\n\n".join(paragraph["context"] for article in articles for paragraph in article["paragraphs"])
    document = Document((Part(text[:_SPLIT_CHARACTERS]),))
    times = []
    for _ in range(30):
        started = time.perf_counter()
        split(
            document,
            "files/text.txt",
            backend._embedder.token_starts,
            max_tokens=min(arguments.tokens, backend._embedder.max_tokens),
            overlap_tokens=arguments.overlap,
        )
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    asyncio.run(main())
