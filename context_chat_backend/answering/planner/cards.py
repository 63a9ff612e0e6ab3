# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cards of models are cut into pieces and embedded: `hf_chunker_v1`."""

from __future__ import annotations

import re
from collections.abc import Callable

from context_chat_backend.ports import Embedder
from context_chat_backend.store.model_cards import CardToEmbed, ModelCards, Pieces

_LONGEST = 800
_OVERLAP = 100
_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---\s*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(r"^(?=#{1,6} )", re.MULTILINE)
_AT_ONCE = 256


def pieces_of(card: CardToEmbed) -> list[str]:
    """The pieces of a card: along its headings, then of 800 characters with 100 in common, model and tag before each.

    A card without text is one piece of model and tag alone.
    """
    head = f"{card.model_id} ({card.pipeline_tag})\n"
    text = _FRONT_MATTER.sub("", card.card).strip()
    parts: list[str] = []
    for section in _HEADING.split(text):
        kept = section.strip()
        while len(kept) > _LONGEST:
            parts.append(kept[:_LONGEST])
            kept = kept[_LONGEST - _OVERLAP :]
        if kept:
            parts.append(kept)
    return [head + part for part in parts] or [head.strip()]


async def embed_cards(
    cards: ModelCards, embedder: Embedder, pieces: Pieces, progress: Callable[[int], None] = lambda _done: None
) -> int:
    """Embed cards that have no such pieces, then drop other pieces; returns how many cards were embedded.

    `progress` is told how many are done. Raises ModelUnavailable, DatabaseUnavailable.
    """
    done, last = 0, ""
    while batch := await cards.to_embed(pieces, last, _AT_ONCE):
        last = batch[-1].card_hash
        texts = [pieces_of(card) for card in batch]
        vectors = await embedder.embed_passages([text for of_card in texts for text in of_card])
        await cards.add(pieces, batch, texts, vectors)
        done += len(batch)
        progress(done)
    await cards.settle(pieces, embedder.space.dimension)
    return done
