# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers within conversations: what comes back with a question, and what must not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from functools import partial

import pytest

from context_chat_backend.answering.answer import Answering
from context_chat_backend.answering.memory import Memory, Place
from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import (
    Answer,
    Delivery,
    Done,
    Ended,
    Finish,
    Message,
    Passage,
    Principal,
    Prompt,
    Question,
    Realm,
    SourceRef,
)
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.store.access import Access
from context_chat_backend.store.conversations import Conversations, Owner
from context_chat_backend.store.database import Database
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.search import Weights
from tests.language_contract import passage
from tests.unit.test_answering import Found

ALICE = Principal(Realm.LOCAL, "alice")
HERS = Owner(ALICE, "")
ROOF, CELLAR = passage("The roof cost 4,000 euros in 2022.", 1), passage("The cellar cost 70 euros in 2023.", 2)


class Telling:
    """Writes what it is told to, and remembers its prompts."""

    name = "telling"
    answer_tokens = 500

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Prompt] = []

    async def context_tokens(self) -> int:
        return 8000

    async def check(self) -> None:
        pass

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        self.asked.append(prompt)
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        yield said
        yield Ended(Finish.STOP)

    async def close(self) -> None:
        """Nothing is held."""


class Shelf(Found):
    """What is found now, and for what."""

    def __init__(self, *passages: Passage) -> None:
        super().__init__(passages)
        self.searched: list[str] = []

    async def passages(self, question: Question, weights: Weights | None = None) -> list[Passage]:
        self.searched.append(question.text)
        return self._found


class Talk:
    """A conversation of alice."""

    def __init__(
        self, conversations: Conversations, place: Place, model: Telling | ExtractiveModel, shelf: Shelf
    ) -> None:
        writer = Writer(model)
        self.conversations, self.place, self.shelf = conversations, place, shelf
        self.answering = Answering(shelf, [writer])
        self.memory = Memory(conversations, [writer])

    async def ask(self, text: str) -> Answer:
        events = self.memory.stream(Question(text, ALICE), self.place, partial(self.answering.stream, sight=None))
        *_, last = [event async for event in events]
        assert isinstance(last, Done)
        return last.answer

    async def texts(self) -> list[str | None]:
        return [message.text for message in await self.conversations.messages(HERS, self.place.id)]


@pytest.fixture
async def access(database: Database) -> Access:
    """Both sources are alice's and bob's."""
    readers = frozenset({ALICE, Principal(Realm.LOCAL, "bob")})
    for one in (ROOF, CELLAR):
        delivery = Delivery(Realm.LOCAL, one.source, one.title, "text/plain", datetime(2024, 1, 1, tzinfo=UTC), readers)
        await Ledger(database).admit(delivery, b"text", 4)
    return Access(database)


@pytest.fixture
async def place(database: Database, access: Access) -> Place:
    return Place(HERS, (await Conversations(database).begin(HERS)).id)


async def take_from_alice(access: Access, ref: SourceRef) -> None:
    await access.deny(Realm.LOCAL, [ref], [ALICE])


async def test_a_question_comes_with_what_was_said_and_is_searched_for_as_it_is_meant(
    database: Database, place: Place
) -> None:
    model = Telling("4,000 euros [1].", "Nothing.")
    talk = Talk(Conversations(database), place, model, Shelf(ROOF))

    await talk.ask("What did the roof cost in 2022?")
    await talk.ask("and in 2023?")

    assert talk.shelf.searched == ["What did the roof cost in 2022?", "What did the roof cost in 2023?"]
    _, *turns, last = model.asked[-1].messages
    assert turns == [Message("user", "What did the roof cost in 2022?"), Message("assistant", "4,000 euros.")]
    assert last.text.endswith("Question: and in 2023?")
    assert await talk.texts() == ["What did the roof cost in 2022?", "4,000 euros [1].", "and in 2023?", "Nothing."]


async def test_quotes_answer_a_follow_up_too(database: Database, place: Place) -> None:
    talk = Talk(Conversations(database), place, ExtractiveModel(), Shelf(ROOF, CELLAR))

    await talk.ask("What did the roof cost in 2022?")
    answer = await talk.ask("and the cellar, in 2023?")

    assert "The cellar cost 70 euros in 2023. [2]" in answer.text


async def test_a_source_that_is_no_longer_shared_leaks_into_no_later_turn(
    database: Database, access: Access, place: Place
) -> None:
    """Not by the turn that cites it, nor by one that repeats that without citing it."""
    model = Telling("4,000 euros [1].", "As I said: 4,000 euros.", "I cannot say.")
    talk = Talk(Conversations(database), place, model, Shelf(ROOF))
    await talk.ask("What did the roof cost?")
    talk.shelf._found = [CELLAR]
    await talk.ask("Repeat that?")
    assert "4,000" in str(model.asked[-1].messages)

    await take_from_alice(access, ROOF.source)
    await talk.ask("Once more: what did the roof cost?")

    assert "4,000" not in str(model.asked[-1].messages)
    assert "4,000" not in talk.shelf.searched[-1]
    assert await talk.texts() == [None, None, None, None, "Once more: what did the roof cost?", "I cannot say."]


async def test_an_answer_that_was_refused_or_withdrawn_is_no_turn(database: Database, place: Place) -> None:
    shelf = Shelf(ROOF)
    shelf.taken = {ROOF.source}
    talk = Talk(Conversations(database), place, Telling("The roof cost 4,000 euros [1]."), shelf)

    assert (await talk.ask("What did the roof cost?")).blocked
    assert await talk.texts() == []


async def test_nor_does_a_summary_leak_it(database: Database, access: Access, place: Place) -> None:
    model = Telling("4,000 euros [1].", *("It is dry [1]. " * 100 for _ in range(6)), "Yes.", "I cannot say.")
    talk = Talk(Conversations(database), place, model, Shelf(ROOF))
    await talk.ask("What did the roof cost?")
    talk.shelf._found = [CELLAR]
    for n in range(6):
        await talk.ask(f"Is the cellar dry, tell me at length ({n})?")
    history = await talk.conversations.history(HERS, place.id)
    await talk.ask("Is that all?")
    assert "4,000" in str(model.asked[-1].messages[2])

    await take_from_alice(access, ROOF.source)
    await talk.ask("What did the roof cost?")

    assert history.summary is not None
    assert "4,000" in history.summary.text
    assert (await talk.conversations.history(HERS, place.id)).summary is None
    assert "4,000" not in str(model.asked[-1].messages)


async def test_old_turns_are_summed_up_within_a_budget(database: Database, place: Place) -> None:
    long = "The cellar is dry, as a cellar should be. " * 30
    model = Telling(*[long] * 8)
    talk = Talk(Conversations(database), place, model, Shelf(CELLAR))

    for n in range(8):
        await talk.ask(f"How is the cellar in {n}?")

    _, *turns, _ = model.asked[-1].messages
    assert turns[0].text == "What have we talked about so far?"
    assert turns[1].text.startswith("How is the cellar in 0? The cellar is dry, as a cellar should be.")
    assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    assert sum(len(turn.text) for turn in turns) < 1500 * 3
    assert len(await talk.texts()) == 16


async def test_quotes_stay_when_what_was_quoted_before_is_unshared(
    database: Database, access: Access, place: Place
) -> None:
    talk = Talk(Conversations(database), place, ExtractiveModel(), Shelf(ROOF))
    await talk.ask("What did the roof cost?")
    talk.shelf._found = [CELLAR]
    await talk.ask("What did the cellar cost?")

    await take_from_alice(access, ROOF.source)

    assert await talk.texts() == [None, None, "What did the cellar cost?", "The cellar cost 70 euros in 2023. [1]"]


async def test_an_answer_that_breaks_off_is_not_remembered(database: Database, place: Place) -> None:
    talk = Talk(Conversations(database), place, Telling(ModelUnavailable("down")), Shelf(ROOF))

    with pytest.raises(ModelUnavailable):
        await talk.ask("What did the roof cost?")

    assert await talk.texts() == []
