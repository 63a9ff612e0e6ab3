# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens of a text for models whose tokenizer is not at hand: rather too many than too few.

One for each character of a script without spaces, of Korean and each sign; one for four letters or two digits.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

_BLANK, _SINGLE, _DIGIT, _LETTER = range(4)
_LENGTHS = np.array([1, 1, 2, 4])
"""Characters in a token of each kind."""
_KINDS = re.compile(
    r"([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|[^\s\w]|_)|(\d)|([^\W\d_])",
)
_TABLE_CHARACTERS = 0x3000
"""Alphabets; what lies above is looked at one by one."""


def token_starts(text: str) -> list[int]:
    """The offsets at which tokens may begin."""
    kinds = _kinds(text)
    places = np.arange(len(kinds))
    begins = np.ones(len(kinds), bool)
    np.not_equal(kinds[1:], kinds[:-1], out=begins[1:])
    in_run = places - np.maximum.accumulate(np.where(begins, places, 0))
    starts: list[int] = np.flatnonzero((in_run % _LENGTHS[kinds] == 0) & (kinds != _BLANK)).tolist()
    return starts


def _kinds(text: str) -> NDArray[np.uint8]:
    """The kind of each character."""
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds: NDArray[np.uint8] = _table()[np.minimum(characters, _TABLE_CHARACTERS)]
    above = characters >= _TABLE_CHARACTERS
    if above.any():
        found, places = np.unique(characters[above], return_inverse=True)
        kinds[above] = np.array([_kind(chr(character)) for character in found], np.uint8)[places]
    return kinds


@cache
def _table() -> NDArray[np.uint8]:
    return np.array([_kind(chr(character)) for character in range(_TABLE_CHARACTERS + 1)], np.uint8)


def _kind(character: str) -> int:
    found = _KINDS.match(character)
    return (found.lastindex or 0) if found is not None else _BLANK
