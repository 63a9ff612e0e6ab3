# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every language model has to do, whoever makes it: a suite to inherit from, with a fixture `model`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from context_chat_backend.domain import (
    Ended,
    Finish,
    Location,
    Message,
    Passage,
    Principal,
    Prompt,
    Realm,
    Reasoning,
    SourceRef,
)
from context_chat_backend.ports import LanguageModel

QUESTION = "When is the lift serviced?"
ALICE = Principal(Realm.NEXTCLOUD, "alice")
PAGE_3 = Location(page=3)
TEXTS = ("The lift is serviced in April.", "Dogs are welcome.")


def passage(text: str, number: int = 1, title: str = "files/a.txt", location: Location = PAGE_3) -> Passage:
    ref = SourceRef("files__default", str(number))
    return Passage(ref, title, text, location, "english", 0.5, number, datetime(2024, 5, 1, tzinfo=UTC))


def prompted(question: str, *texts: str) -> Prompt:
    passages = tuple(passage(text, n) for n, text in enumerate(texts, start=1))
    messages = (Message("system", "Answer shortly."), Message("user", "\n".join((*texts, question))))
    return Prompt(messages, question, passages, ALICE)


async def written(model: LanguageModel, asked: Prompt) -> tuple[str, Ended]:
    """The text and how it ended, which is the last thing that comes."""
    pieces = [piece async for piece in model.stream(asked)]
    assert isinstance(pieces[-1], Ended)
    text = [piece for piece in pieces[:-1] if isinstance(piece, str)]
    assert len(text) == len(pieces) - 1 - sum(isinstance(piece, Reasoning) for piece in pieces)
    assert all(text)
    return "".join(text), pieces[-1]


class LanguageModelContract:
    """Inherit, and give `model`: deterministic, and one that writes something to QUESTION and TEXTS."""

    @pytest.fixture
    def model(self) -> LanguageModel:
        raise NotImplementedError

    async def test_text_comes_in_whole_pieces_and_then_the_reason_of_its_end(self, model: LanguageModel) -> None:
        text, ended = await written(model, prompted(QUESTION, *TEXTS))

        assert text.strip()
        text.encode()  # no half characters
        assert ended.finish in Finish
        if ended.usage is not None:
            assert ended.usage.prompt_tokens > 0
            assert 0 < ended.usage.answer_tokens <= model.answer_tokens

    async def test_a_stream_may_be_left_and_the_next_one_is_whole(self, model: LanguageModel) -> None:
        whole, _ = await written(model, prompted(QUESTION, *TEXTS))
        async with aclosing(model.stream(prompted(QUESTION, *TEXTS))) as left:
            await anext(left)

        assert (await written(model, prompted(QUESTION, *TEXTS)))[0] == whole

    async def test_streams_at_once_do_not_mix(self, model: LanguageModel) -> None:
        asked = [prompted(f"{QUESTION} {n}", *TEXTS, f"{n} times.") for n in range(4)]
        alone = [await written(model, one) for one in asked]
        together = await asyncio.gather(*(written(model, one) for one in asked))

        assert [text for text, _ in together] == [text for text, _ in alone]

    async def test_tokens_are_counted_text_by_text(self, model: LanguageModel) -> None:
        short, empty, long = await model.count_tokens(
            ["Dogs are welcome.", "", "Hunde sind willkommen. 欢迎带狗 " * 20]
        )

        assert 0 <= empty < short < long
        assert await model.count_tokens([]) == []

    async def test_an_answer_has_room_in_the_context(self, model: LanguageModel) -> None:
        assert 0 < model.answer_tokens <= await model.context_tokens()
        assert model.name
