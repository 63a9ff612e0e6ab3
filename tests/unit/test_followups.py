# SPDX-License-Identifier: AGPL-3.0-or-later
"""Follow-ups become questions that stand alone: by rule in several languages, by a model where one may be asked."""

from __future__ import annotations

import pytest

from context_chat_backend.answering.followups import by_rule, stands_alone
from context_chat_backend.answering.writing import Templates, Writer
from context_chat_backend.domain import Ended, Finish, Message
from context_chat_backend.errors import ModelUnavailable
from tests.unit.test_answering import Scripted

REVENUE = "What was the revenue of the ferry in 2022?"
TURNS = (Message("user", REVENUE), Message("assistant", "It was 4 million [1]."))


@pytest.mark.parametrize(
    ("before", "asked", "alone"),
    [
        (REVENUE, "and in 2023?", "What was the revenue of the ferry in 2023?"),
        (REVENUE, "What about 2023?", "What was the revenue of the ferry in 2023?"),
        (REVENUE, "2023?", "What was the revenue of the ferry in 2023?"),
        ("Wie hoch war der Umsatz 2022?", "Und 2023?", "Wie hoch war der Umsatz 2023?"),
        ("Wie hoch war der Umsatz 2022?", "und im Jahr 2023?", "Wie hoch war der Umsatz 2023?"),
        ("Quel était le budget en 2022 ?", "Et en 2023 ?", "Quel était le budget en 2023 ?"),
        ("¿Cuál fue el presupuesto en 2022?", "¿Y en 2023?", "¿Cuál fue el presupuesto en 2023?"),
        ("Qual era il bilancio nel 2022?", "E nel 2023?", "Qual era il bilancio nel 2023?"),
        ("Wat was het budget in 2022?", "En in 2023?", "Wat was het budget in 2023?"),
        ("Jaki był budżet w 2022?", "a w 2023?", "Jaki był budżet w 2023?"),
        ("Каким был бюджет в 2022 году?", "А в 2023?", "Каким был бюджет в 2023 году?"),
        ("2022年的预算是多少？", "那2023年呢？", "2023年的预算是多少？"),
        ("Who repaired the roof?", "And the cellar?", "Who repaired the roof? And the cellar?"),
        ("Who repaired the roof?", "How much did they charge?", "Who repaired the roof? How much did they charge?"),
        ("Wann wird der Aufzug gewartet?", "Was kostet er?", "Wann wird der Aufzug gewartet? Was kostet er?"),
        ("Qui a réparé le toit ?", "Combien a-t-il coûté, et pourquoi ?", "Combien a-t-il coûté, et pourquoi ?"),
        ("年度会议在哪里？", "它什么时候开始？", "年度会议在哪里？ 它什么时候开始？"),
        ("Who repaired the roof?", "Why?", "Who repaired the roof? Why?"),
    ],
)
def test_a_follow_up_is_put_together_with_what_it_follows(before: str, asked: str, alone: str) -> None:
    assert by_rule(asked, [before]) == alone


@pytest.mark.parametrize(
    "asked",
    [
        "When is the lift serviced?",
        "Gibt es ein Budget für den Garten?",
        "Y a-t-il un budget pour le jardin ?",
        "En quelle année le toit a-t-il été réparé ?",
        "Wer hat den Vertrag mit der Reederei unterschrieben, und wann hat sie ihn zuletzt verlängert oder gekündigt?",
        "roof repair",
        "Andrea's budget for the garden",
        "年度会议在哪里举行？",
    ],
)
def test_a_question_of_its_own_stays_as_it_is(asked: str) -> None:
    assert by_rule(asked, [REVENUE]) == asked


def test_follow_ups_follow_each_other() -> None:
    asked = by_rule("And in 2021?", ["When is the lift serviced?", REVENUE, "and in 2023?"])

    assert asked == "What was the revenue of the ferry in 2021?"


async def test_a_model_that_may_be_asked_beside_the_answer_writes_it() -> None:
    model = Scripted('"How much did the ferry ', 'earn in 2023?"\nBecause …', Ended(Finish.STOP))

    assert await stands_alone("and in 2023?", TURNS, Writer(model, writes_asides=True)) == (
        "How much did the ferry earn in 2023?"
    )
    (asked,) = model.asked
    assert asked.passages == ()
    assert "user: What was the revenue of the ferry in 2022?\nassistant: It was 4 million.\n" in asked.messages[1].text
    assert asked.messages[1].text.endswith("and in 2023?")


@pytest.mark.parametrize(
    "writer",
    [
        Writer(Scripted(ModelUnavailable("down")), writes_asides=True),
        Writer(Scripted(), writes_asides=True),
        Writer(Scripted(" \n "), writes_asides=True),
        Writer(Scripted("I'm sorry!"), writes_asides=True),
        Writer(Scripted("ferry " * 500), writes_asides=True),
        Writer(Scripted("How much did the ferry earn?"), Templates("{context}{question}"), writes_asides=True),
        Writer(Scripted("How much did the ferry earn?")),
    ],
    ids=["down", "silent", "blank", "rubbish", "endless", "with a template", "not to be asked"],
)
async def test_else_rules_do(writer: Writer) -> None:
    assert await stands_alone("and in 2023?", TURNS, writer) == "What was the revenue of the ferry in 2023?"


async def test_a_first_question_costs_no_model_call() -> None:
    model = Scripted("Anything.")

    assert await stands_alone("and in 2023?", (), Writer(model, writes_asides=True)) == "and in 2023?"
    assert model.asked == []
