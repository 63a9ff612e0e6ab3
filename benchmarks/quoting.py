# SPDX-License-Identifier: AGPL-3.0-or-later
"""How good quoted answers are: `python -m benchmarks.quoting XQUAD [--language en …] [--questions N] [--json]`.

Indexes the paragraphs of XQuAD in one language after the other, in a database of its own, asks all questions in the
same language through the program with `extractive`, and compares the answers with the spans people marked:

contains   the answer holds the span, letter by letter but for case, blanks and marks at the ends
recall     so many of the tokens of the span are in the answer (characters in Chinese)
F1         of the tokens of the answer and of the span; an answer of whole sentences cannot come near 1
citations  so many of the citations point to a passage that holds the span
words      length of an answer (characters in Chinese)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from context_chat_backend.config import load
from context_chat_backend.domain import Answer, Question
from context_chat_backend.evaluation.datasets import LANGUAGES, DataSet, xquad
from context_chat_backend.evaluation.measures import interval
from context_chat_backend.evaluation.run import READER, fill, program
from context_chat_backend.settings import ModelChoice
from context_chat_backend.wiring import Backend

MEASURES = ("contains", "recall", "F1", "citations", "words")
_AT_ONCE = 4
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")
_MARKER = re.compile(r"\s*\[\d+\]")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", action="append", choices=LANGUAGES)
    parser.add_argument("--questions", type=int, default=None, help="so many, spread over the paragraphs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {
        language: asyncio.run(measured(arguments.folder, language, arguments.questions))
        for language in arguments.language or LANGUAGES
    }
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"| asked in | {' | '.join(MEASURES)} |")
    print(f"|---|{'---|' * len(MEASURES)}")
    for language, row in rows.items():
        print(f"| {language} | {' | '.join(row[name] for name in MEASURES)} |")


async def measured(folder: Path, language: str, most: int | None) -> dict[str, str]:
    """The measures of one language, as they are printed."""
    data = xquad(folder, [language], [language])
    golds = spans(folder, language)
    every = max(1, len(golds) // most) if most else 1
    config = replace(load({}, cores=2), llm=ModelChoice("extractive"), llm_fallback=())
    async with program(config) as backend:
        await fill(backend, data.documents)
        answers = await asked(backend, data, every)
    found = [judged(answer, gold) for answer, gold in zip(answers, golds[::every], strict=True)]
    return {name: _printed(name, [value for row in found if (value := row[name]) is not None]) for name in MEASURES}


async def asked(backend: Backend, data: DataSet, every: int = 1) -> list[Answer]:
    """The answers to every so-manieth question, in their order."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def answer(text: str) -> Answer:
        async with slots:
            return await backend.answer(Question(text, READER))

    return list(await asyncio.gather(*(answer(one.text) for one in data.questions[::every])))


def spans(folder: Path, language: str) -> list[tuple[str, ...]]:
    """What people marked as the answer, for each question in the order of the data set."""
    articles = json.loads((folder / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    return [
        tuple(dict.fromkeys(str(answer["text"]) for answer in asked["answers"]))
        for article in articles
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]


def judged(answer: Answer, golds: Sequence[str]) -> Mapping[str, float | None]:
    """The measures of one answer; citations are None where it has none."""
    text = _MARKER.sub("", answer.text)
    said = Counter(_TOKEN.findall(_plain(text)))
    best_recall = best_f1 = 0.0
    for gold in golds:
        wanted = Counter(_TOKEN.findall(_plain(gold)))
        common = (said & wanted).total()
        if common:
            best_recall = max(best_recall, common / wanted.total())
            best_f1 = max(best_f1, 2 * common / (said.total() + wanted.total()))
    cited = [_holds(citation.passage.text, golds) for citation in answer.citations]
    return {
        "contains": float(_holds(text, golds)),
        "recall": best_recall,
        "F1": best_f1,
        "citations": sum(cited) / len(cited) if cited else None,
        "words": float(said.total()),
    }


def _holds(text: str, golds: Sequence[str]) -> bool:
    return any(_plain(gold) in _plain(text) for gold in golds)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .,;:!?\"'()[]«»„“”。，、")


def _printed(name: str, values: Sequence[float]) -> str:
    of = interval(values)
    if name == "words":
        return f"{of.mean:.0f}"
    return f"{100 * of.mean:.1f} ({100 * of.low:.1f}–{100 * of.high:.1f})"


if __name__ == "__main__":
    main()
