# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens where the tokenizer is not at hand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_chat_backend.inference.embedding.estimate import token_starts

ALPHABETIC = re.compile(r"[^\W\d_]{1,4}|\d{1,2}|[^\s\w]|_")


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("", []),
        ("  \n", []),
        ("words, 2024", [0, 4, 5, 7, 9]),
        ("a_b", [0, 1, 2]),
        ("東京 カ", [0, 1, 3]),
        ("ไทย", [0, 1, 2]),
        ("aเb", [0, 1, 2]),
        ("🙂🙂\ud800", [0, 1, 2]),
    ],
)
def test_four_letters_two_digits_or_one_sign_are_a_token(text: str, starts: list[int]) -> None:
    assert token_starts(text) == starts


@given(st.text(st.characters(max_codepoint=0x0DFF), max_size=60))
def test_alphabets_are_counted_as_their_pattern_says(text: str) -> None:
    assert token_starts(text) == [token.start() for token in ALPHABETIC.finditer(text)]
