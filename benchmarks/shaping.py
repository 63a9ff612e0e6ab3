# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shaping of passages is worth: `python -m benchmarks.shaping [--copies] [--every 1] [--json]`, on XQuAD.

The 48 English articles are one document each, with `--copies` twice more: once as it is, once quoted as in a mail. All
questions are asked through the real store. Prints for each lever how often the text before a model holds the right
answer, when so many characters of it fit, and what the lever costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from context_chat_backend import config
from context_chat_backend.domain import Delivery, EmbeddingSpace, Passage, Principal, Question, Realm, SourceRef
from context_chat_backend.inference.reranking.none import NoReranker
from context_chat_backend.ports import Embedder, Vectors
from context_chat_backend.retrieval.diversity import asks_for_several
from context_chat_backend.retrieval.retrieve import Retriever, Shaping
from context_chat_backend.store.neighbours import Neighbours
from context_chat_backend.store.search import Search
from context_chat_backend.wiring import Backend
from tests.acceptance.test_xquad import DATA
from tests.conftest import open_folder
from tests.spaces import spaces_of

_READER = Principal(Realm.NEXTCLOUD, "carol")
_FITTING = (1000, 2000, 4000)
_OFF = Shaping(collapse=False, turns=False, join=False)
_VARIANTS: Mapping[str, Shaping] = {
    "nothing": _OFF,
    "collapse": Shaping(turns=False, join=False),
    "turns": Shaping(collapse=False, join=False),
    "join": Shaping(collapse=False, turns=False),
    "join, 1 around": Shaping(collapse=False, turns=False, around=1),
    "all": Shaping(),
    "all, 1 around": Shaping(around=1),
}


class Remembering:
    """Embeds each question once, so that the levers alone are measured."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Vectors] = {}

    async def open(self) -> None:
        """See ports.Embedder."""
        await self._embedder.open()

    @property
    def device(self) -> str:
        """See ports.Embedder."""
        return self._embedder.device

    @property
    def space(self) -> EmbeddingSpace:
        """See ports.Embedder."""
        return self._embedder.space

    @property
    def max_tokens(self) -> int:
        """See ports.Embedder."""
        return self._embedder.max_tokens

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder."""
        return self._embedder.token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder."""
        return await self._embedder.embed_passages(texts)

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        if text not in self._known:
            self._known[text] = await self._embedder.embed_question(text)
        return self._known[text]

    async def close(self) -> None:
        """The embedder belongs to the backend."""


async def main() -> None:
    """Index, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="ask every so many questions only")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    articles = json.loads((DATA / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    asked = [qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    asked = asked[:: arguments.every]
    folder = open_folder()
    backend = Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=2))
    await backend.start()
    try:
        await fill(backend, articles, copies=arguments.copies)
        embedder = Remembering(backend._embedder)
        spaces = await spaces_of(backend.database, embedder)
        doors = spaces, Search(backend.database), NoReranker(), Neighbours(backend.database)
        for qa in asked:
            await embedder.embed_question(qa["question"])
        rows = [
            {
                "variant": name,
                **await measured(Retriever(*doors, shaping), asked),
                **await compared(Retriever(*doors, shaping), asked[::5], asked[7::5]),
            }
            for name, shaping in _VARIANTS.items()
        ]
    finally:
        await backend.close()
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(rows))
        return
    several = sum(asks_for_several(qa["question"]) for qa in asked)
    print(
        f"{len(asked)} questions, {several} of them ask for several sources; the answer is within so many characters:"
    )
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


async def fill(backend: Backend, articles: Sequence[Any], *, copies: bool) -> None:
    """Admit the articles and wait until they are indexed."""
    numbers = iter(range(1, 1000))
    with tempfile.NamedTemporaryFile() as body:
        for article in articles:
            whole = "\n\n".join(paragraph["context"] for paragraph in article["paragraphs"])
            quoted = "\n".join(f"> {line}" for line in whole.splitlines())
            for text in (whole, whole, quoted) if copies else (whole,):
                Path(body.name).write_text(text, encoding="utf-8")
                number = next(numbers)
                ref = SourceRef("files__default", str(number))
                readers = frozenset({_READER})
                title = f"files/en/{number}.txt"
                delivery = Delivery(Realm.NEXTCLOUD, ref, title, "text/plain", datetime.now(UTC), readers)
                await backend.admission.admit(delivery, Path(body.name), len(text.encode()))
    while (await backend.ledger.waiting()).sources:
        await backend.indexer.wait_for_verdict(1.0)


async def measured(retriever: Retriever, asked: Sequence[Any]) -> dict[str, float]:
    """Shares of questions whose answer is in the first characters of the text before a model; milliseconds."""
    found, lengths = dict.fromkeys(_FITTING, 0), dict.fromkeys(_FITTING, 0)
    times: dict[str, list[float]] = {"passages_ms": [], "joined_ms": []}
    for qa in asked:
        question = Question(qa["question"], _READER, limit=20)
        started = time.perf_counter()
        passages = await retriever.passages(question)
        searched = time.perf_counter()
        await retriever.joined(_READER, passages)
        times["passages_ms"].append((searched - started) * 1000)
        times["joined_ms"].append((time.perf_counter() - searched) * 1000)
        answers = [answer["text"] for answer in qa["answers"]]
        for characters in _FITTING:
            joined = await retriever.joined(_READER, fitting(passages, characters))
            text = "\n\n".join(passage.text for passage in joined)
            found[characters] += any(answer in text for answer in answers)
            lengths[characters] += len(text)
    shares = {str(characters): round(count / len(asked), 4) for characters, count in found.items()}
    read = {f"read_of_{characters}": round(length / len(asked)) for characters, length in lengths.items()}
    return shares | read | {name: round(statistics.median(values), 1) for name, values in times.items()}


async def compared(retriever: Retriever, ones: Sequence[Any], others: Sequence[Any]) -> dict[str, float]:
    """The share of comparisons of two questions for which the answers to both are in the first 4000 characters."""
    both = 0
    pairs = list(zip(ones, reversed(others), strict=False))
    for one, other in pairs:
        question = Question(f"Compare: {one['question']} {other['question']}", _READER, limit=20)
        passages = await retriever.joined(_READER, fitting(await retriever.passages(question), _FITTING[-1]))
        text = "\n\n".join(passage.text for passage in passages)
        both += all(any(answer["text"] in text for answer in qa["answers"]) for qa in (one, other))
    return {"both": round(both / len(pairs), 4)}


def fitting(passages: Sequence[Passage], characters: int) -> list[Passage]:
    """The first passages whose texts fit."""
    taken: list[Passage] = []
    for passage in passages:
        characters -= len(passage.text)
        if characters < 0:
            break
        taken.append(passage)
    return taken


if __name__ == "__main__":
    asyncio.run(main())
