# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which words two texts have in common, without knowing their language: words are alike when they begin alike.

That serves inflected languages. In scripts that put no blanks between words, pairs of characters stand for words.
"""

from __future__ import annotations

import re

_STEM = 5
_WORD = re.compile(r"[^\W_]+")
_WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
_SAID_ANYWHERE = (
    "about after all also and any are because been before but can could did does each for from had has have her "
    "him his how into its just may more most must not one only other our out over should some such than that the "
    "their them then there these they this those under was were what when where which while who will with would "
    "you your "
    "aber alle als auch auf aus bei das dass dem den der des die dies diese dieser doch durch ein eine einem einen "
    "einer eines für hat haben hier ihr ihre ist kann man mehr mit nach nicht noch nur oder sich sie sind über und "
    "unter vom von vor war waren was wenn werden wie wird wurde wurden zum zur "
    "avec ces cette dans des elle est été ils les leur mais nous ont par pas plus pour que qui sans ses son sont "
    "sur une vous "
    "como con del desde donde ella ellos entre era esta este esto fue fueron hay las los más muy para pero por "
    "puede que ser sin sobre son sus una uno "
    "alla che con dal dalla degli della delle dello gli nel nella non per più quale sono sul sulla una uno "
    "aan als bij dat deze die dit door een het hun kan maar met naar niet nog ook over van voor was werd wordt "
    "zijn "
    "mais não nas nos pela pelo por sua seu são uma umas uns "
    "acest această care cea cel cele cei din este fost îşi într lor mai nu pentru prin sau sunt şi unei unui și "
    "без был была были было для его если есть как кто или ими она они оно при про под так также что это этот чтобы"
)
"""Words of texts about anything: English, German, French, Spanish, Italian, Dutch, Portuguese, Romanian, Russian."""
_COMMON = frozenset(_SAID_ANYWHERE.split())


def terms(text: str) -> frozenset[str]:
    """The beginnings of the words of `text` that have three letters, its numbers, and its pairs of ideographs."""
    return _beginnings(text, frozenset())


def content_terms(text: str) -> frozenset[str]:
    """The same without words that are said about anything."""
    return _beginnings(text, _COMMON)


def _beginnings(text: str, left_out: frozenset[str]) -> frozenset[str]:
    words = _WORD.findall(text.lower())
    kept = {word[:_STEM] for word in words if word not in left_out and (len(word) > 2 or word.isdigit())}
    if text.isascii():
        return frozenset(kept)
    return frozenset(kept | {run[start : start + 2] for run in _WIDE.findall(text) for start in range(len(run) - 1)})
