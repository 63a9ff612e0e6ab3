# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers through language models that are down, refuse, or write what they should not: what a user sees."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import pytest

from context_chat_backend.answering.answer import Answering
from context_chat_backend.answering.observing import whole
from context_chat_backend.answering.writing import Templates, Writer
from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    Delta,
    Done,
    Ended,
    Finish,
    Passage,
    Principal,
    Prompt,
    Question,
    Retrieved,
    SourceRef,
    Usage,
)
from context_chat_backend.errors import InvalidRequest, ModelUnavailable
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.inference.language.openai import OpenAIModel
from context_chat_backend.inference.openai_http import OpenAIServer, Patience
from context_chat_backend.ports import LanguageModel
from context_chat_backend.retrieval.retrieve import Retriever
from context_chat_backend.store.search import Weights
from tests.language_contract import passage
from tests.model_double.client import ModelDouble

PASSAGES = [passage("The roof costs 4,000 euros.", 1), passage("The cellar is dry.", 2)]
ALICE = Principal("local", "alice")
ASKED = Question("What does the roof cost?", ALICE)
HELLO = Question("Hello?", ALICE)


class Found(Retriever):
    """Finds always the same."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._found = list(passages)
        self.taken: set[SourceRef] = set()

    async def passages(self, question: Question, weights: Weights | None = None) -> list[Passage]:
        return self._found

    async def joined(self, asker: Principal, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)

    async def lost(self, asker: Principal, passages: Sequence[Passage]) -> set[SourceRef]:
        return self.taken & {passage.source for passage in passages}


class Scripted:
    """Writes pieces; an exception among them is raised."""

    name = "scripted"
    answer_tokens = 50

    def __init__(self, *pieces: str | Ended | Exception, context: int = 2000) -> None:
        self.pieces = pieces
        self.context = context
        self.asked: list[Prompt] = []

    async def context_tokens(self) -> int:
        return self.context

    async def check(self) -> None:
        pass

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        self.asked.append(prompt)
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def close(self) -> None:
        """Nothing is held."""


def answering(*models: LanguageModel, passages: Sequence[Passage] = PASSAGES, stop: tuple[str, ...] = ()) -> Answering:
    return Answering(Found(passages), [Writer(model, Templates(stop=stop)) for model in models])


async def events(answering: Answering) -> list[AnswerEvent]:
    return [event async for event in answering.stream(ASKED)]


@pytest.fixture
async def served(double: ModelDouble) -> AsyncIterator[OpenAIModel]:
    patience = Patience(connect=0.5, first=0.5, idle=0.5, total=5)
    model = OpenAIModel(OpenAIServer(double.url, None, patience=patience), "served", answer_tokens=50)
    yield model
    await model.close()


async def test_the_answer_says_who_wrote_it_why_it_ended_and_what_it_took(
    double: ModelDouble, served: OpenAIModel
) -> None:
    double.script({"says": "It costs 4,000 euros [1]."})
    answer = await whole(answering(served).stream(ASKED))

    assert answer.text == "It costs 4,000 euros [1]."
    assert [citation.passage for citation in answer.citations] == PASSAGES[:1]
    assert (answer.model, answer.unavailable) == ("served", ())
    assert (answer.finish, answer.usage) == (Finish.STOP, Usage(5, 4))


async def test_models_that_are_down_give_way_in_order_and_the_answer_tells() -> None:
    first, second = Scripted(ModelUnavailable("down")), Scripted("", ModelUnavailable("down"))
    second.name = "second"
    answer = await whole(answering(first, second, ExtractiveModel()).stream(ASKED))

    assert answer.text == "The roof costs 4,000 euros. [1]"
    assert (answer.model, answer.unavailable) == ("extractive", ("scripted", "second"))


@pytest.mark.parametrize(
    "trouble",
    [
        {"fault": "silence"}, {"fault": "status", "status": 503}, {"fault": "error_200"}, {"fault": "error_event"},
        {"fault": "page"}, {"fault": "rubbish"}, {"fault": "wrong_shape"}, {"fault": "hang_up"},
        {"fault": "huge", "one_line": True},
    ],
    ids=lambda trouble: "".join(str(value) for value in trouble.values()),
)  # fmt: skip
async def test_a_server_in_trouble_gives_way_to_quotes(
    double: ModelDouble, served: OpenAIModel, trouble: dict[str, Any]
) -> None:
    double.script(trouble)
    answer = await whole(answering(served, ExtractiveModel()).stream(ASKED))

    assert (answer.text, answer.unavailable) == ("The roof costs 4,000 euros. [1]", ("served",))


async def test_what_is_out_is_not_taken_back_by_another_model() -> None:
    stream = answering(Scripted("The roof ", ModelUnavailable("gone")), ExtractiveModel()).stream(ASKED)

    assert await anext(stream) == Retrieved(tuple(PASSAGES))
    assert await anext(stream) == Delta("The roof")
    with pytest.raises(ModelUnavailable):
        await anext(stream)


async def test_when_all_are_down_the_last_error_is_told() -> None:
    with pytest.raises(ModelUnavailable, match="second"):
        await whole(answering(Scripted(ModelUnavailable("first")), Scripted(ModelUnavailable("second"))).stream(ASKED))
    with pytest.raises(ModelUnavailable, match="second"):
        await whole(
            answering(Scripted(ModelUnavailable("first")), Scripted(ModelUnavailable("second"))).converse(HELLO)
        )


async def test_an_answer_whose_source_was_taken_away_while_it_was_written_is_withdrawn() -> None:
    found = Found(PASSAGES)
    found.taken = {PASSAGES[-1].source}
    answer = await whole(Answering(found, [Writer(Scripted("The roof costs 4,000 euros [1]."))]).stream(ASKED))

    assert "please ask again" in answer.text
    assert "4,000" not in answer.text
    assert (answer.citations, answer.passages, answer.blocked) == ((), (), True)


async def test_another_model_that_reads_less_is_said_to() -> None:
    long = [passage(f"Roof {n}: " + "The roof costs 4,000 euros. " * 20, n) for n in range(1, 9)]
    small = Scripted("So [1].", Ended(Finish.STOP), context=400)
    first, second, *rest = await events(answering(Scripted(ModelUnavailable("down")), small, passages=long))

    assert first == Retrieved(tuple(long))
    assert isinstance(second, Retrieved)
    assert 0 < len(second.passages) < len(long)
    assert "".join(event.text for event in rest if isinstance(event, Delta)) == "So [1]."


async def test_a_prompt_that_is_too_long_for_the_server_is_made_shorter_once(
    double: ModelDouble, served: OpenAIModel
) -> None:
    double.be(counts=False)
    double.script({"n_ctx": 512, "says": "So [1]."})
    many = [passage(f"Roof {n}: " + "A roof is a roof, as it is. " * 10, n) for n in range(1, 40)]
    answer = await whole(answering(served, passages=many).stream(ASKED))

    first, second = (len(asked["body"]["messages"][1]["content"]) for asked in double.requests)
    assert answer.text == "So [1]."
    assert second < first
    assert len(answer.passages) < len(many)


async def test_a_second_refusal_is_the_users_to_cure(double: ModelDouble, served: OpenAIModel) -> None:
    double.script({"fault": "overflow", "n_ctx": 4096})
    with pytest.raises(InvalidRequest, match="the question is too long for the language model: shorten it"):
        await whole(answering(served, ExtractiveModel()).stream(ASKED))

    assert len(double.requests) == 2


async def test_ten_megabytes_are_cut_and_the_server_is_told(double: ModelDouble, served: OpenAIModel) -> None:
    double.script({"fault": "huge"})
    answer = await whole(answering(served).stream(ASKED))

    assert len(answer.text) <= served.answer_tokens * 16 + 2
    assert answer.text.endswith("blah …")
    assert answer.finish is Finish.LENGTH
    double.wait_until_left()


async def test_an_answer_that_ran_out_of_room_ends_with_dots() -> None:
    answer = await whole(answering(Scripted("The roof costs [1] 4,", Ended(Finish.LENGTH))).stream(ASKED))

    assert answer.text == "The roof costs [1] 4, …"
    assert (await whole(answering(Scripted("So", Ended(Finish.LENGTH))).converse(HELLO))).text == "So …"


SEEN: dict[str, tuple[dict[str, Any], str]] = {
    "invented markers": ({"says": "So it is [7]. And so [1][0][12345]."}, "So it is. And so [1][12345]."),
    "half characters": ({"fault": "half_bytes"}, "Grüße 😀 \ufffd"),
    "pictures": ({"says": "![x](https://evil.example/?q=1) So [2]."}, "x So [2]."),
    "pieces inside markers": ({"pieces": ["So [", "1", "], a", "nd [2", ", 9] so."]}, "So [1], and [2] so."),
}


@pytest.mark.parametrize("case", SEEN)
async def test_what_a_user_sees_of_a_model_that_writes_what_it_should_not(
    double: ModelDouble, served: OpenAIModel, case: str
) -> None:
    step, seen = SEEN[case]
    double.script(step)

    assert (await whole(answering(served).stream(ASKED))).text == seen


async def test_a_model_is_offered_no_tool_and_one_it_calls_is_not_there(
    double: ModelDouble, served: OpenAIModel
) -> None:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "fetch", "arguments": "{}"}}
    double.script({"calls": [call], "says": "So [1]."})
    answer = await whole(answering(served).stream(ASKED))

    (asked,) = double.requests
    assert answer.text == "So [1]."
    assert not {"tools", "tool_choice", "functions", "function_call"} & set(asked["body"])


NOTHING = "I found nothing about this in the documents you can read."


@pytest.mark.parametrize("pieces", [(), ("",), (" \n",), ("[9]", Ended(Finish.LENGTH))])
async def test_a_model_that_says_nothing_is_said_to_have_found_nothing(pieces: tuple[str | Ended, ...]) -> None:
    *_, last = await events(answering(Scripted(*pieces)))

    assert last == Done(Answer(NOTHING))


async def test_without_passages_no_model_is_asked() -> None:
    model = Scripted("Anything.")

    assert await events(answering(model, passages=[])) == [Retrieved(()), Delta(NOTHING), Done(Answer(NOTHING))]
    assert model.asked == []


@pytest.mark.parametrize(
    "pieces", [["So [1].<|im_end|>user"], ["So [1].<|", "im_", "end|", "> Next"], ["So [1].<|im_"]]
)
async def test_an_answer_ends_where_its_separator_begins(pieces: list[str]) -> None:
    answer = await whole(answering(Scripted(*pieces), stop=("<|im_end|>", "###")).stream(ASKED))

    assert answer.text == ("So [1].<|im_" if len(pieces) == 1 and "end" not in pieces[0] else "So [1].")
