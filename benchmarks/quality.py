# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does the right paragraph come first: `python -m benchmarks.quality [--json]`, on XQuAD beside the project.

All paragraphs of two languages, one user who may read both, the real store and embedder without HTTP. Prints hit@1 and
hit@5 of the sources for the fusion as it is, and for each of its two lists alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from context_chat_backend import config
from context_chat_backend.domain import Delivery, Principal, Question, Realm, SourceRef
from context_chat_backend.retrieval.retrieve import FOREIGN, NATIVE
from context_chat_backend.store.search import Weights
from context_chat_backend.wiring import Backend
from tests.acceptance.test_xquad import Paragraph, paragraphs
from tests.conftest import open_folder

_READER = Principal(Realm.NEXTCLOUD, "carol")
_VARIANTS: Mapping[str, Mapping[str, Weights]] = {
    "as it is": {"en": NATIVE, "de": FOREIGN},
    "both equal": {"en": NATIVE, "de": NATIVE},
    "words alone": dict.fromkeys(("en", "de"), replace(NATIVE, meaning=0.0)),
    "meaning alone": dict.fromkeys(("en", "de"), replace(NATIVE, words=0.0)),
}


async def main() -> None:
    """Index, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = open_folder()
    backend = Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=2))
    await backend.start()
    try:
        found = paragraphs()
        await fill(backend, found)
        rows = [
            {"variant": variant, "language": language, **await measured(backend, found, language, weights[language])}
            for variant, weights in _VARIANTS.items()
            for language in ("en", "de")
        ]
    finally:
        await backend.close()
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['variant']:>14} {row['language']}  hit@1 {row['hit@1']:.4f}  hit@5 {row['hit@5']:.4f}")


async def fill(backend: Backend, found: list[Paragraph]) -> None:
    """Admit all paragraphs and wait until they are indexed."""
    with tempfile.NamedTemporaryFile() as body:
        for number, paragraph in enumerate(found):
            text = paragraph.text.encode()
            Path(body.name).write_bytes(text)
            ref = SourceRef.parse(paragraph.ref)
            title = f"files/{paragraph.language}/{number}.txt"
            delivery = Delivery(
                Realm.NEXTCLOUD, ref, title, "text/plain", datetime.now(UTC), frozenset({_READER})
            )  # fmt: skip
            await backend.admission.admit(delivery, Path(body.name), len(text))
    while (await backend.ledger.waiting()).sources:
        await backend.indexer.wait_for_verdict(1.0)


async def measured(backend: Backend, found: list[Paragraph], language: str, weights: Weights) -> dict[str, float]:
    """The share of questions whose paragraph is first, and among the first five."""
    ranks: list[int] = []
    for paragraph in found:
        for text in paragraph.questions if paragraph.language == language else ():
            passages = await backend.find_passages(Question(text, _READER, limit=20), weights)
            refs = list(dict.fromkeys(str(passage.source) for passage in passages))
            ranks.append(refs.index(paragraph.ref) if paragraph.ref in refs else len(refs) + 5)
    return {"hit@1": ranks.count(0) / len(ranks), "hit@5": sum(rank < 5 for rank in ranks) / len(ranks)}


if __name__ == "__main__":
    asyncio.run(main())
