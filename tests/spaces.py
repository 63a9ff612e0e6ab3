# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embedding spaces for tests and benchmarks that need no whole program."""

from __future__ import annotations

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.ports import Embedder
from context_chat_backend.settings import ModelChoice
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.database import Database
from context_chat_backend.store.spaces import Spaces


def choice_of(embedder: Embedder) -> ModelChoice:
    """What a configuration with this embedder would say."""
    return ModelChoice(embedder.space.model, {"dimension": embedder.space.dimension})


async def spaces_of(database: Database, embedder: Embedder, *others: Embedder) -> SpacesInUse:
    """The live spaces after a start with `embedder` in the configuration; `others` can be built."""

    def build(model: ModelChoice) -> Embedder:
        for other in others:
            if choice_of(other) == model:
                return other
        raise ConfigurationError(f"there is no {model.name}")

    stored = Spaces(database)
    await stored.ensure(embedder.space, choice_of(embedder))
    spaces = SpacesInUse(stored, embedder, build)
    await spaces.refresh()
    return spaces
