# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole job on real input: the program as a process, pushed and asked over HTTP as Nextcloud does it.

XQuAD (CC BY-SA 4.0) lies beside the project and is not part of it; without it these tests run on `samples/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from context_chat_backend.evaluation import datasets
from tests.program import ROOT, Program, part

DATA = ROOT.parent / "shared" / "data" / "xquad"
LANGUAGES = {"en": "alice", "de": "bob"}
"""Who may read the paragraphs of a language beside carol, who may read all."""


@dataclass(frozen=True)
class Paragraph:
    ref: str
    language: str
    text: str
    questions: tuple[str, ...]


def paragraphs() -> list[Paragraph]:
    """Those of both languages with their questions, as the evaluation reads them."""
    data = datasets.xquad(DATA, tuple(LANGUAGES), tuple(LANGUAGES))
    asked: dict[str, list[str]] = {}
    for question in data.questions:
        (key,) = question.relevant
        asked.setdefault(key, []).append(question.text)
    return [
        Paragraph(f"files__default: {number}", each.key.partition("-")[0], each.text, tuple(asked[each.key]))
        for number, each in enumerate(data.documents, start=1)
    ]


def pushed(program: Program, found: list[Paragraph]) -> None:
    waiting = iter(found)
    while batch := list(islice(waiting, 25)):
        parts = [
            part(p.ref, p.text.encode(), users=f"{LANGUAGES[p.language]},carol", title=f"files/{p.language}/{n}.txt")
            for n, p in enumerate(batch)
        ]
        answer = program.load(parts).json()
        assert answer == {"loaded_sources": [p.ref for p in batch], "sources_to_retry": []}
    program.wait_for_indexed(len(found))


@pytest.fixture(scope="module")
def program(module_storage: Path) -> Iterator[Program]:
    if not DATA.exists():
        pytest.skip("XQuAD is not here: the samples stand in (tests/acceptance/test_samples.py)")
    with Program(module_storage) as running:
        pushed(running, paragraphs())
        yield running


@pytest.mark.parametrize(("language", "at_least"), [("en", 0.98), ("de", 0.96)])
def test_the_right_paragraph_is_among_the_first_five(program: Program, language: str, at_least: float) -> None:
    hits = [
        p.ref in program.search("carol", question)
        for p in paragraphs()
        if p.language == language
        for question in p.questions
    ]

    assert len(hits) == 1190
    print(f"hit@5 {language}: {sum(hits) / len(hits):.4f}")
    assert sum(hits) / len(hits) >= at_least


def test_no_answer_names_a_source_its_user_may_not_read(program: Program) -> None:
    readable = {user: {p.ref for p in paragraphs() if p.language == code} for code, user in LANGUAGES.items()}
    for p in paragraphs()[::7]:
        question = p.questions[0]
        for user, refs in readable.items():
            assert set(program.search(user, question, limit=20)) <= refs
            answer = program.post("/query", {"query": question, "userId": user})
            assert set(answer["sources"]) <= refs
        assert program.search("mallory", question) == []
        assert program.post("/query", {"query": question, "userId": "mallory"})["sources"] == []


def test_an_answer_quotes_the_paragraph_it_cites(program: Program) -> None:
    by_ref = {p.ref: p for p in paragraphs()}
    answered = 0
    for p in paragraphs()[:240:10]:
        answer = program.post("/query", {"query": p.questions[0], "userId": "alice"})
        if answer["sources"]:
            answered += 1
            first = answer["output"].partition(" [")[0]
            assert any(first.rstrip(" …") in " ".join(by_ref[ref].text.split()) for ref in answer["sources"])

    assert answered >= 20


def test_restart_keeps_everything_and_a_deleted_user_takes_along_what_only_he_could_read(program: Program) -> None:
    """A restart keeps everything; with a user goes what only he could read, and nothing else."""
    counted = program.post("/countIndexedDocuments")
    program.stop()
    program.start(enable=False)  # whether Nextcloud had enabled us is kept, too

    assert program.post("/countIndexedDocuments") == counted
    question = paragraphs()[0].questions[0]
    assert paragraphs()[0].ref in program.search("alice", question)

    program.post("/deleteUser", {"userId": "carol"})
    assert program.post("/countIndexedDocuments") == counted
    assert program.search("carol", question) == []
    program.post("/deleteUser", {"userId": "bob"})
    assert program.post("/countIndexedDocuments") == {"files__default": 240}
    assert paragraphs()[0].ref in program.search("alice", question)
