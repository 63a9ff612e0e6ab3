# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text as the word index takes it: plain words for the stemmer, and names that are kept whole.

A stemmer knows words. File names, identifiers, numbers and addresses (`INV-2024-0042`, `anna@example.org`,
`MeetingNotes.pdf`) are found by their parts and as a whole, so both are indexed. Scripts that put no blank between
words (Chinese, Japanese, Thai and their neighbours) are indexed by pairs of neighbouring characters, which ruled the
retrieval of these languages before dictionaries and needs none (Nie, Gao, Zhang, Zhou 2000).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from context_chat_backend.compounds import parts

MAX_NAME_CHARACTERS = 200
"""What is longer is no name, and nobody asks for it."""

_REMEMBERED_CHARACTERS = 40
"""Longer words are taken apart each time; 30 000 shorter ones are some 8 MB."""
_UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"  # kana and ideographs
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_NAME = re.compile(r"\w+(?:[-_.@/:+&'’]+\w+)*")
_JOINTS = re.compile(r"[\W_]+|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|(?<=[a-zà-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])")


@dataclass(frozen=True, slots=True)
class Words:
    """What is indexed of a text."""

    written: str
    """Words with blanks between them, for the stemmer of a language."""
    names: tuple[str, ...]
    """Names in lower case and pairs of characters, as often as they occur."""


def words_of(text: str, language: str) -> Words:
    """The words of a text that is to be found; `language` is the configuration that will stem them."""
    text, pairs = _spaced(text)
    taken = [_taken(name, language) for name in _NAME.findall(text)]
    return Words(_written(taken), (*(whole for _, whole in taken if whole is not None), *pairs))


def words_asked(text: str, language: str) -> Words:
    """The words of a question in `language`: whatever is written may be a name."""
    text, pairs = _spaced(text)
    found = _NAME.findall(text)
    names = [_plain(name) for name in found if len(name) <= MAX_NAME_CHARACTERS]
    return Words(_written([_taken(name, language) for name in found]), tuple(dict.fromkeys((*names, *pairs))))


def _spaced(text: str) -> tuple[str, list[str]]:
    """A text without the scripts that have no blanks, and the pairs of these."""
    if text.isascii():
        return text, []
    text = unicodedata.normalize("NFKC", text)
    return _RUN.sub(" ", text), _pairs(text)


def _taken(name: str, language: str) -> tuple[str, str | None]:
    """The words in a name, with the parts of compounds, and the name as a whole where it is more than a word.

    A text has few words, again and again, so that the short ones are remembered.
    """
    return _remembered(name, language) if len(name) <= _REMEMBERED_CHARACTERS else _parted(name, language)


def _parted(name: str, language: str) -> tuple[str, str | None]:
    words = _JOINTS.sub(" ", name).split()
    found = [part for word in words for part in parts(word, language)]
    is_name = len(name) <= MAX_NAME_CHARACTERS and _JOINTS.search(name) is not None
    return " ".join((*words, *found)), _plain(name) if is_name else None


_remembered = lru_cache(maxsize=30_000)(_parted)


def _written(taken: list[tuple[str, str | None]]) -> str:
    return " ".join(words for words, _ in taken if words)


def _plain(name: str) -> str:
    return name.lower().replace("’", "'")


def _pairs(text: str) -> list[str]:
    """Neighbouring characters of scripts without blanks; a character that stands alone is a word."""
    pairs = []
    for match in _RUN.finditer(text):
        run = match.group()
        pairs += [run[start : start + 2] for start in range(len(run) - 1)] if len(run) > 1 else [run]
    return pairs
