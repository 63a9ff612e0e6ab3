# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several sources instead of one, when a question asks for it: comparisons, "which documents …", summaries.

The rule: two passages of each source come first, then the next two of each, and so on; among equals the order before
stays. Nothing is left out by it. The words that ask for several sources are known in nine languages; a question in
another is answered best passage first, as any.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from context_chat_backend.domain import Passage

_TURN = 2
"""Passages of a source in one turn."""

_CHARACTERS = 2000
"""So much of a question is looked at."""

_SEVERAL = re.compile(
    # English
    r"\bcompar(?:e[sd]?|ing|isons?)\b|\bdiffer(?:s|ences?)?\b|\bversus\b|\bvs\b|\bsummar(?:y|ies|i[sz]e)\b|\boverview\b"
    r"|\b(?:which|what|many|all|all of|all the|all my|of the|of my) (?:\w+ )?"
    r"(?:documents|files|sources|e-?mails|mails|reports|notes)\b"
    # German
    r"|\bvergleich|\bunterschied|\bzusammenfass|\bfass(?:e|en)?\b.{0,200}\bzusammen\b|\büberblick\b|\bübersicht\b"
    r"|\b(?:welche[nr]?|alle[nr]?|viele[nr]?) (?:\w+ )?"
    r"(?:dokumenten?|dateien|unterlagen|quellen|e-?mails|mails|berichten?|notizen)\b"
    # French
    r"|\bcompar(?:e[rz]?|aison)|\bdifférences?\b|\brésum|\baperçu\b"
    r"|\b(?:quel(?:le)?s|tou(?:te)?s les) (?:\w+ )?(?:documents|fichiers|sources|rapports|courriels)\b"
    # Spanish, Italian, Romanian
    r"|\bcompar[aă]|\bdiferenci|\bdiferenț|\bdifferenz|\bconfront[aio]|\bresum(?:e|en|ir)\b|\briassu|\brezum"
    r"|\b(?:qué|cuáles|todos los|quali|tutti i|ce|care|toate) (?:\w+ )?"
    r"(?:documentos|archivos|documenti|file|documente(?:le)?|fișiere(?:le)?)\b"
    # Dutch
    r"|\bvergelijk|\bverschil|\bsamenvat|\boverzicht\b|\b(?:welke|alle) (?:\w+ )?(?:documenten|bestanden|bronnen)\b"
    # Russian
    r"|\bсравни|\bотлича|\bразлич|\bобзор|\bрезюм|\b(?:какие|каких|все|всех) (?:\w+ )?(?:документ|файл|источник)"
    # Chinese
    r"|比较|比較|对比|對比|区别|區別|差异|差異|总结|總結|概述|汇总|(?:哪些|所有|全部)的?(?:文档|文件|资料|文檔|檔案)",
    re.IGNORECASE,
)


def asks_for_several(text: str) -> bool:
    """Whether a question wants to be answered from several sources."""
    return _SEVERAL.search(text[:_CHARACTERS]) is not None


def take_turns(passages: Sequence[Passage]) -> list[Passage]:
    """The same passages: two of each source, then the next two of each; a stable order."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, Passage]] = []
    for passage in passages:
        source = str(passage.source)
        turns.append((seen[source] // _TURN, passage))
        seen[source] += 1
    return [passage for _, passage in sorted(turns, key=lambda turn: turn[0])]
