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

_SEVERAL = re.compile(
    # English
    r"\bcompar(?:e[sd]?|ing|isons?)\b|\bdiffer(?:s|ences?)?\b|\bversus\b|\bvs\b|\bsummar(?:y|ies|i[sz]e)\b|\boverview\b"
    r"|\b(?:which|what|all|list|every|in how many)\b.{0,20}\b(?:documents?|files?|sources?|e?-?mails?|reports?|notes)\b"
    # German
    r"|\bvergleich|\bunterschied|\bzusammenfass|\bfass\w*\b.*\bzusammen\b|\büberblick\b|\bübersicht\b"
    r"|\b(?:welche[mnrs]?|alle[mnrs]?|wie vielen?)\b.{0,20}\b(?:dokument|datei|unterlage|quelle|e?-?mail|bericht|notiz)"
    # French
    r"|\bcompar(?:e[rz]?|aison)|\bdifférences?\b|\brésum|\baperçu\b"
    r"|\b(?:quel(?:le)?s|tou(?:te)?s)\b.{0,20}\b(?:documents|fichiers|sources|rapports|courriels)\b"
    # Spanish, Italian, Romanian
    r"|\bcompar[aă]|\bdiferenci|\bdiferenț|\bdifferenz|\bconfront[aio]|\bresum(?:e|en|ir)\b|\briassu|\brezum"
    r"|\b(?:qué|cuáles|todos los|quali|tutti i|ce|care|toate)\b.{0,20}"
    r"\b(?:documentos|archivos|documenti|file|documente(?:le)?|fișiere(?:le)?)\b"
    # Dutch
    r"|\bvergelijk|\bverschil|\bsamenvat|\boverzicht\b|\b(?:welke|alle)\b.{0,20}\b(?:documenten|bestanden|bronnen)\b"
    # Russian
    r"|\bсравни|\bотлича|\bразлич|\bобзор|\bрезюм|\b(?:как(?:ие|их)|вс[её]х?|все)\b.{0,20}\b(?:документ|файл|источник)"
    # Chinese
    r"|比较|比較|对比|對比|区别|區別|差异|差異|总结|總結|概述|汇总|[哪所]有?[些]?.{0,4}(?:文档|文件|资料|文檔|檔案)",
    re.IGNORECASE,
)


def asks_for_several(text: str) -> bool:
    """Whether a question wants to be answered from several sources."""
    return _SEVERAL.search(text) is not None


def take_turns(passages: Sequence[Passage]) -> list[Passage]:
    """The same passages: two of each source, then the next two of each; a stable order."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, Passage]] = []
    for passage in passages:
        source = str(passage.source)
        turns.append((seen[source] // _TURN, passage))
        seen[source] += 1
    return [passage for _, passage in sorted(turns, key=lambda turn: turn[0])]
