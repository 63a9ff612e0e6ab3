# SPDX-License-Identifier: AGPL-3.0-or-later
"""Search stays as good as docs/quality.md says it is: XQuAD through the program, with room for what is luck.

XQuAD (CC BY-SA 4.0) lies beside the project and is not part of it; without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from context_chat_backend import config
from context_chat_backend.evaluation import datasets
from context_chat_backend.evaluation.configurations import parse
from context_chat_backend.evaluation.measures import Interval
from context_chat_backend.evaluation.report import rows
from context_chat_backend.evaluation.run import evaluate
from tests.acceptance.test_xquad import DATA

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.exists(), reason="XQuAD is not here"),
]
Measures = Mapping[str, Interval]


def measured(storage: Path, language: str, names: Sequence[str]) -> dict[str, Measures]:
    """What the configurations reach with every second question."""
    data = datasets.xquad(DATA, [language], [language])
    data = replace(data, questions=data.questions[::2])
    settings = config.load({"APP_PERSISTENT_STORAGE": str(storage)}, cores=2)
    found = asyncio.run(evaluate(settings, data, [parse(name) for name in names]))
    return {row.configuration: row.measures for row in rows(data, found)}


@pytest.mark.slow
def test_in_english_meaning_and_words_together_are_better_than_either(storage: Path) -> None:
    found = measured(storage, "en", ["hybrid", "words", "vectors"])

    assert found["hybrid"]["ndcg@10"].mean > found["words"]["ndcg@10"].mean
    assert found["hybrid"]["ndcg@10"].mean > found["vectors"]["ndcg@10"].mean
    assert found["hybrid"]["ndcg@10"].mean >= 0.965
    assert found["hybrid"]["recall@5"].mean >= 0.985
    assert found["vectors"]["ndcg@10"].mean >= 0.92


@pytest.mark.slow
def test_in_german_of_which_the_model_knows_little_meaning_still_helps_words(storage: Path) -> None:
    found = measured(storage, "de", ["hybrid", "words"])

    assert found["hybrid"]["ndcg@10"].mean > found["words"]["ndcg@10"].mean
    assert found["hybrid"]["ndcg@10"].mean >= 0.93
    assert found["hybrid"]["recall@5"].mean >= 0.965
