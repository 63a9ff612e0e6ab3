# SPDX-License-Identifier: AGPL-3.0-or-later
"""Documents in plans and in the tool that finds them: whatever was granted and taken, nobody sees what he may not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.planner import load_samples, planner_on
from context_chat_backend.answering.planner.document_tool import DOCUMENTS, DocumentArguments
from context_chat_backend.answering.planner.planner import Planner
from context_chat_backend.answering.planner.tools import Workplace
from context_chat_backend.domain import EVERYTHING, Passage, Principal, Question, Realm
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.retrieval.retrieve import Shaping
from context_chat_backend.store.access import Access
from context_chat_backend.store.database import Database
from tests.integration.test_retriever import Library
from tests.spaces import spaces_of

PEOPLE = [Principal(Realm.NEXTCLOUD, name) for name in ("alice", "bob", "carol")]
ASKED = "Deploy Llama 70B for inference; what do our guidelines say about clouds?"


@pytest.fixture
async def library(database: Database, tmp_path: Path) -> Library:
    embedder = HashingEmbedder(64)
    return Library(database, embedder, await spaces_of(database, embedder), tmp_path)


@pytest.fixture
async def planner(database: Database, library: Library) -> AsyncIterator[Planner]:
    retriever = library.retriever(shaping=Shaping(collapse=False))

    async def passages(question: Question) -> list[Passage]:
        return await retriever.passages(question, None)

    async with planner_on(database) as planner:
        await load_samples(planner)
        yield Planner(replace(planner.place, passages=passages, lost=retriever.lost))


async def seen(place: Workplace, asker: Principal) -> set[str]:
    """The texts the tool gives somebody who asks for more than there are."""
    found = await DOCUMENTS.run(place, asker, EVERYTHING, DocumentArguments(query="guidelines of clouds", top_k=20))
    return {row["text"] for row in found.body["results"]}


@pytest.mark.parametrize("seed", range(3))
async def test_the_tool_finds_what_an_oracle_of_rights_says(library: Library, planner: Planner, seed: int) -> None:
    draw = random.Random(seed)
    access = Access(library.database)
    readers: dict[str, set[Principal]] = {}
    refs = {}
    for number in range(6):
        text = f"Guidelines of clouds, number {number}."
        readers[text] = set(draw.sample(PEOPLE, draw.randint(1, 3)))
        refs[text] = await library.add(str(number), text, readers=sorted(readers[text], key=str))
    for _ in range(8):
        text, people = draw.choice(sorted(readers)), set(draw.sample(PEOPLE, draw.randint(1, 2)))
        if not readers[text] - people or draw.random() < 0.5:
            await access.allow(Realm.NEXTCLOUD, [refs[text]], people)
            readers[text] |= people
        else:
            await access.deny(Realm.NEXTCLOUD, [refs[text]], people)
            readers[text] -= people

        for asker in PEOPLE:
            assert await seen(planner.place, asker) == {one for one, able in readers.items() if asker in able}

    for asker in PEOPLE:
        reply = await planner.reply(asker, EVERYTHING, ASKED, {})
        assert reply.plan is not None
        may = {text for text, able in readers.items() if asker in able}
        told = {one["text"] for one in reply.plan["documents"]}
        assert told <= may
        assert len(told) == min(3, len(may))
        assert {refs[text] for text in told} == set(reply.sources)
        assert not any(text in reply.text for text in set(readers) - may)
