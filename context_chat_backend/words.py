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
class Words:
    """What is indexed of a text."""

    written: str
    """Words with blanks between them, for the stemmer of a language."""
    names: tuple[str, ...]
    """Names in lower case and pairs of characters, as often as they occur."""


def words_of(text: str, language: str) -> Words:
    """The words of a text that is to be found; `language` is the configuration that will stem them."""
    text = unicodedata.normalize("NFKC", text)
    pairs = _pairs(text)
    text = _RUN.sub(" ", text)
    names = []
    for match in _NAME.finditer(text):
        name = match.group()
        if len(name) <= MAX_NAME_CHARACTERS and _JOINTS.search(name):
            names.append(_plain(name))
    return Words(_with_parts(_JOINTS.sub(" ", text).strip(), language), (*names, *pairs))


def words_asked(text: str, language: str) -> Words:
    """The words of a question in `language`: whatever is written may be a name."""
    text = unicodedata.normalize("NFKC", text)
    pairs = _pairs(text)
    text = _RUN.sub(" ", text)
    names = [_plain(name) for name in _NAME.findall(text) if len(name) <= MAX_NAME_CHARACTERS]
    return Words(_with_parts(_JOINTS.sub(" ", text).strip(), language), tuple(dict.fromkeys((*names, *pairs))))


def _with_parts(written: str, language: str) -> str:
    found = [part for word in written.split() for part in parts(word, language)]
    return " ".join((written, *found)) if found else written


def _plain(name: str) -> str:
    return name.lower().replace("’", "'")


def _pairs(text: str) -> list[str]:
    """Neighbouring characters of scripts without blanks; a character that stands alone is a word."""
    pairs = []
    for match in _RUN.finditer(text):
        run = match.group()
        pairs += [run[start : start + 2] for start in range(len(run) - 1)] if len(run) > 1 else [run]
    return pairs
