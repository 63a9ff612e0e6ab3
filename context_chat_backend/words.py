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

from context_chat_backend.compounds import parts

MAX_NAME_CHARACTERS = 200
"""What is longer is no name, and nobody asks for it."""

_UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"  # kana and ideographs
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_NAME = re.compile(r"\w+(?:[-_.@/:+&'’]+\w+)*")
_JOINTS = re.compile(r"[\W_]+|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|(?<=[a-zà-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])")


@dataclass(frozen=True, slots=True)
class Found:
    """What is indexed of a text."""

    names: list[str]
    """Words and names as they are written, as often as they occur."""
    pairs: list[str]
    """Pairs of characters of scripts without blanks, as often as they occur."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is asked for."""

    written: str
    """Words with blanks between them, for the stemmer of a language."""
    names: tuple[str, ...]
    """Names in lower case and pairs of characters, each once."""


def found_in(text: str) -> Found:
    """What is written in a text that is to be found."""
    text, pairs = _spaced(text)
    return Found(_NAME.findall(text), pairs)


def taken_apart(name: str, language: str) -> tuple[tuple[str, ...], str | None]:
    """The words in a name, with the parts of compounds; and the name in lower case where it is more than a word.

    `language` is the configuration that will stem them.
    """
    if name.isalpha() and name.isascii() and (name.islower() or name[1:].islower()):
        return (name, *parts(name, language)), None  # as most words are written
    words = _JOINTS.sub(" ", name).split()
    found = [part for word in words for part in parts(word, language)]
    is_name = len(name) <= MAX_NAME_CHARACTERS and _JOINTS.search(name) is not None
    return (*words, *found), _plain(name) if is_name else None


def words_asked(text: str, language: str) -> Words:
    """The words of a question in `language`: whatever is written may be a name."""
    text, pairs = _spaced(text)
    found = _NAME.findall(text)
    names = [_plain(name) for name in found if len(name) <= MAX_NAME_CHARACTERS]
    written = " ".join(word for name in found for word in taken_apart(name, language)[0])
    return Words(written, tuple(dict.fromkeys((*names, *pairs))))


def _spaced(text: str) -> tuple[str, list[str]]:
    """A text without the scripts that have no blanks, and the pairs of these."""
    if text.isascii():
        return text, []
    text = unicodedata.normalize("NFKC", text)
    return _RUN.sub(" ", text), _pairs(text)


def _plain(name: str) -> str:
    return name.lower().replace("’", "'")


def _pairs(text: str) -> list[str]:
    """Neighbouring characters of scripts without blanks; a character that stands alone is a word."""
    pairs = []
    for match in _RUN.finditer(text):
        run = match.group()
        pairs += [run[start : start + 2] for start in range(len(run) - 1)] if len(run) > 1 else [run]
    return pairs
