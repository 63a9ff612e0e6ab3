# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instructions are not recited, and what only sounds like them is said."""

from __future__ import annotations

import pytest

from context_chat_backend.answering.secrecy import WITHHELD, Discreet

INSTRUCTIONS = "Speak for the clerk of Mirabell only and keep to what the minutes of her council say about money."
CHINESE = "你只为米拉贝尔市的书记官说话，并且只依据市议会会议记录中关于财政的内容。"


def said(text: str, *, instructions: str = INSTRUCTIONS, known: tuple[str, ...] = (), step: int = 1) -> str:
    discreet = Discreet([instructions], known)
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    return "".join(discreet.add(piece) for piece in pieces) + discreet.end()


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    "recited",
    [INSTRUCTIONS, INSTRUCTIONS.upper(), " ".join(INSTRUCTIONS), INSTRUCTIONS.replace(" ", "\n> **"), CHINESE],
    ids=["as it is", "loud", "spelt", "marked", "Chinese"],
)
def test_a_recital_is_withheld_however_it_is_written_and_cut(recited: str, step: int) -> None:
    text = said(f"Sure: {recited} Is that all?", instructions=f"{INSTRUCTIONS} {CHINESE}", step=step)

    assert text.startswith("Sure: ")
    assert text.endswith(f"{WITHHELD} Is that all?")
    assert len(text) < len("Sure: Is that all?") + 40


@pytest.mark.parametrize(
    "text",
    [
        "The minutes of her council say little about money, and the clerk of Mirabell keeps to it.",
        "Speak for the clerk of Mirabell only",
        "",
        "會議 🙂 ½ ١٢",
    ],
)
def test_what_shares_words_with_instructions_is_said(text: str) -> None:
    assert said(text) == said(text, step=1000) == text


def test_what_the_reader_has_anyway_is_said() -> None:
    text = f"It says: {INSTRUCTIONS}"

    assert said(text, known=("Another.", f"In the minutes: {INSTRUCTIONS}")) == text


def test_what_instructions_quote_is_there_to_be_said() -> None:
    told = 'For all else say: "Please ask the clerk of Mirabell by telephone under 0662 4711 on weekdays."'
    text = "Please ask the clerk of Mirabell by telephone under 0662 4711 on weekdays."

    assert said(text, instructions=told) == text
