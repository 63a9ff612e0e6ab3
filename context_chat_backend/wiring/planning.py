# SPDX-License-Identifier: AGPL-3.0-or-later
"""The planner on the parts of the program: its pool, its embedder, its search, its language models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.answering.planner.planner import Planner
from context_chat_backend.answering.planner.tools import Workplace
from context_chat_backend.answering.writing import Writer
from context_chat_backend.config import Config
from context_chat_backend.domain import Passage, Question
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.retrieval.retrieve import Retriever
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.catalogues import Catalogues
from context_chat_backend.store.database import Database
from context_chat_backend.store.model_cards import ModelCards


def build_planner(
    config: Config, database: Database, spaces: SpacesInUse, retriever: Retriever, writers: Sequence[Writer]
) -> Planner:
    """The planner as the configuration wants it."""

    async def embed(text: str) -> NDArray[np.float32]:
        embedder = spaces.answering.embedder
        if embedder is None:
            raise ModelUnavailable("the embedding model cannot be used here")
        return await embedder.embed_question(text)

    async def passages(question: Question) -> list[Passage]:
        return await retriever.passages(question, None)

    place = Workplace(
        catalogues=Catalogues(database),
        cards=ModelCards(database),
        settings=config.planner,
        embed=embed,
        embedding_model=lambda: spaces.answering.stored.space.model,
        passages=passages,
        lost=retriever.lost,
    )
    return Planner(place, writers)
