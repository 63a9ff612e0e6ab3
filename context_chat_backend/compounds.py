# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts of compound words, so that `Police` finds the `Versicherungspolice`.

A word is split where the geometric mean of its parts' frequencies in the language is highest, when that is above
the frequency of the word itself (Koehn, Knight 2003, "Empirical Methods for Compound Splitting"). Between two parts a
linking element may stand (`Versicherung-s-police`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache, lru_cache

_LISTS = {
    "german": "de", "dutch": "nl", "swedish": "sv", "danish": "da", "norwegian": "nb", "finnish": "fi",
    "hungarian": "hu",
}  # fmt: skip
"""Languages that write compounds as one word, as PostgreSQL and as the word lists call them."""
_LINKS = {
    "german": ("", "s", "es", "n", "en", "er", "e"), "dutch": ("", "s", "en", "e"), "swedish": ("", "s"),
    "danish": ("", "s", "e"), "norwegian": ("", "s", "e"), "finnish": ("", "n"), "hungarian": ("",),
}  # fmt: skip
_LEAST_WORD, _LEAST_PART = 8, 4
_LONGEST_WORD = 60
_UNKNOWN = 1e-9
"""The frequency of a word that is in no list."""


def has_compounds(language: str) -> bool:
    """Whether words of a language are looked at for their parts."""
    return language in _LISTS


@lru_cache(maxsize=100_000)
def parts(word: str, language: str) -> tuple[str, ...]:
    """The words that `word` is made of, and the words those are made of; none where it is not a compound.

    `language` is the name of a text search configuration, for example 'german'; most languages have no compounds.
    Parts are in lower case, as the word lists write them.
    """
    word = word.casefold()
    if language not in _LISTS or not _LEAST_WORD <= len(word) <= _LONGEST_WORD or not word.isalpha():
        return ()
    frequencies = _frequencies(language)
    best, split = frequencies.get(word, _UNKNOWN), ("", "")
    for border in range(_LEAST_PART, len(word) - _LEAST_PART + 1):
        tail = frequencies.get(word[border:])
        if tail is None:
            continue
        for link in _LINKS[language]:
            head = word[:border].removesuffix(link)
            if len(head) + len(link) == border and len(head) >= _LEAST_PART:
                score = math.sqrt(_frequency(head, language) * tail)
                if score > best:
                    best, split = score, (head, word[border:])
    return (*split, *parts(split[0], language), *parts(split[1], language)) if split[0] else ()


def _frequency(head: str, language: str) -> float:
    """Of a word in no list, that of its rarest part; zero where it has none."""
    frequencies = _frequencies(language)
    return frequencies.get(head) or min((frequencies.get(part, _UNKNOWN) for part in parts(head, language)), default=0)


@cache
def _frequencies(language: str) -> Mapping[str, float]:
    from wordfreq import get_frequency_dict

    listed = get_frequency_dict(_LISTS[language], "small")
    return {word: frequency for word, frequency in listed.items() if len(word) >= _LEAST_PART}
