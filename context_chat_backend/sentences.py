# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where sentences begin, in any script: chunks end there, and quotes are made of them.

A full stop ends no sentence after an abbreviation, a day of a month or an initial, nor before a small letter. Wide full
stops (。！？) end one without a space after them.
"""

from __future__ import annotations

import re
from itertools import pairwise

_CLOSING = "\"'”’»«)\\]」』）】》"
"""What may stand between a full stop and the next sentence."""
_STOPS = ".!?…؟۔।"
# A run of stops is looked at from its beginning only: a line of a million dots costs no more than any other. Each
# alternative begins with a character, for which the text is searched faster than for what may stand before it.
_END = re.compile(rf"[{_STOPS}](?<![{_STOPS}][{_STOPS}])[{_STOPS}]*[{_CLOSING}]*\s+|[。！？｡]+[{_CLOSING}]*\s*|\n\s*")
_LAST_WORD = re.compile(r"[\w.]*\Z")
_LOOK_BACK = 16
"""No abbreviation is longer."""

_ABBREVIATIONS = frozenset(
    {
        # German
        "abb", "abs", "allg", "anm", "aufl", "bd", "bspw", "bzgl", "bzw", "ca", "dipl", "dr", "evtl", "exkl", "ff",
        "fr", "geb", "gem", "ggf", "hr", "hrsg", "inkl", "insb", "jh", "kap", "mio", "mrd", "mtl", "nr", "prof",
        "rd", "sog", "st", "str", "tel", "usf", "vgl", "zb", "zzgl", "zit",
        # English
        "al", "approx", "apt", "ave", "blvd", "cf", "dept", "eg", "est", "figs", "gen", "gov", "ie", "lt", "messrs",
        "mr", "mrs", "mt", "nos", "pp", "rev", "sgt", "vs",
        # French, Spanish, Italian
        "mme", "mlle", "sra", "sres", "srta", "dott", "sig", "sigra", "pág", "págs", "núm",
    }
)  # fmt: skip
"""What names and numbers follow, without its full stops, in small letters."""
_BEFORE_NUMBERS = frozenset(
    {"art", "ch", "ed", "eq", "fig", "max", "min", "no", "op", "para", "ref", "sec", "vers", "vol"}
)
"""Words as well: they are abbreviations before a number only."""


def starts(text: str) -> list[int]:
    """The offset of each sentence of `text`, the first 0; each reaches to the next one, blanks at its end included.

    A line break ends a sentence, too.
    """
    found = [0]
    for end in _END.finditer(text):
        if end.end() < len(text) and _ends_sentence(text, end):
            found.append(end.end())
    return found


def split(text: str) -> list[str]:
    """The sentences of `text` without blanks around them, none of them empty."""
    borders = [*starts(text), len(text)]
    sentences = (text[start:end].strip() for start, end in pairwise(borders))
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    mark = end[0]
    if mark[0] != "." or "\n" in mark:
        return True
    if text[end.end()].islower():
        return False
    before = _LAST_WORD.search(text, max(0, end.start() - _LOOK_BACK), end.start())
    word = before[0] if before is not None else ""
    if word.isdigit():
        return len(word) > 2  # "am 3. Mai", but "in 1999. Then"
    tail = word.rpartition(".")[2]
    if len(tail) == 1 and tail.isalpha():  # an initial, or the end of "z. B." and "U.S."
        return False
    tail = tail.lower()
    if tail in _BEFORE_NUMBERS:
        return not text[end.end()].isdigit()
    return tail not in _ABBREVIATIONS and not tail.endswith("str")  # "Hauptstr. 5"
