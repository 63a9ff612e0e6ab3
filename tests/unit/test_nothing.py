# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where nothing answers, nobody is asked, and the reader is told so in his language, with where was looked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from context_chat_backend.answering.answer import Answering
from context_chat_backend.answering.nothing import nothing_found
from context_chat_backend.answering.observing import whole
from context_chat_backend.answering.relevance import FLOOR
from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import Answer, Delta, Done, Principal, Question, Retrieved, Scope, SourceRef
from tests.language_contract import passage
from tests.unit.test_answering import Found, Scripted

ALICE = Principal("local", "alice")
FAR = replace(passage("Hydrangeas want much water in summer."), similarity=FLOOR - 0.01)


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        ("Who won the chess title in 1950?", "I found nothing about this in the documents you can read."),
        ("Wer gewann 1950 die Meisterschaft im Schach?", "In den Dokumenten, die Sie lesen dürfen, habe ich"),
        ("Qui a remporté le championnat d'échecs en 1950 ?", "Je n'ai rien trouvé"),
        ("¿Quién ganó el campeonato de ajedrez en 1950?", "No he encontrado nada"),
        ("Chi ha vinto il campionato di scacchi nel 1950?", "Non ho trovato nulla"),
        ("Wie won het schaakkampioenschap in het jaar 1950?", "In de documenten die u mag lezen"),
        ("Quem ganhou o campeonato de xadrez em 1950?", "Não encontrei nada"),
        ("Cine a câștigat campionatul de șah în anul 1950?", "Nu am găsit nimic"),
        ("Кто выиграл чемпионат по шахматам в 1950 году?", "В документах, которые вам доступны"),
        ("谁赢得了1950年的国际象棋冠军？", "在您可以阅读的文件中"),
        ("1950年のチェスのタイトルは誰が獲得しましたか？", "I found nothing"),  # no words of ours: in English
        ("???", "I found nothing"),
    ],
)
def test_the_sentence_is_in_the_language_of_the_question(question: str, begins: str) -> None:
    assert nothing_found(question).text.startswith(begins)


@pytest.mark.parametrize(
    ("scope", "searched"),
    [
        (Scope(providers=("collection__town",)), "Searched: collection town."),
        (Scope(providers=("files__default", "mail__mail")), "Searched: files, app mail."),
        (Scope(providers=tuple(f"collection__c{n}" for n in range(9))), "collection c4 …."),
        (Scope(sources=(SourceRef("files__default", "1"), SourceRef("files__default", "2"))), "chosen documents: 2."),
        (Scope(path="files/Projects/", media_types=("text/plain",)), "types: text/plain; folder: files/Projects/."),
        (
            Scope(since=datetime(2023, 1, 1, tzinfo=UTC), until=datetime(2024, 1, 1, tzinfo=UTC)),
            "changed since 2023-01-01; changed before 2024-01-01.",
        ),
    ],
)
def test_it_names_what_was_searched(scope: Scope, searched: str) -> None:
    said = nothing_found("Who won the chess title?", scope).text

    assert said.startswith("I found nothing about this in the documents you can read. Searched: ")
    assert said.endswith(searched)
    assert "Durchsucht: " in nothing_found("Wer gewann die Meisterschaft im Schach?", scope).text


async def test_what_is_below_the_floor_is_nothing_and_no_model_is_asked() -> None:
    model = Scripted("Anything [1].")
    question = Question("Who won the chess title?", ALICE, Scope(providers=("collection__town",)))
    said = nothing_found(question.text, question.scope)
    events = [event async for event in Answering(Found([FAR, FAR]), [Writer(model)]).stream(question)]

    assert events == [Retrieved(()), Delta(said.text), Done(Answer(said.text))]
    assert model.asked == []


@pytest.mark.parametrize(
    ("question", "similarity"),
    [
        (Question("Who won the chess title?", ALICE), FLOOR),
        (Question("How often are hydrangeas watered?", ALICE), -0.2),
        (Question("What is it?", ALICE), -0.2),
        (Question("Summarise the chess minutes", ALICE, Scope(sources=(FAR.source,))), -0.2),
    ],
    ids=["near", "in its words", "without words", "chosen"],
)
async def test_what_is_near_or_says_a_word_of_it_or_was_chosen_is_answered_from(
    question: Question, similarity: float
) -> None:
    model = Scripted("So [1].")
    found = [replace(FAR, similarity=similarity)]

    assert (await whole(Answering(Found(found), [Writer(model)]).stream(question))).passages == tuple(found)
    assert len(model.asked) == 1
