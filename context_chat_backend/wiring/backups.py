# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backup of the configured database, and its way back: with the steps it lacks and with the indexes of search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from context_chat_backend.config import Config
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.store import backup, restore
from context_chat_backend.store.archive import Manifest
from context_chat_backend.store.database import Database
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.spaces import Spaces, SpaceState
from context_chat_backend.wiring.databases import our_database


async def back_up(config: Config, file: Path, *, vectors: bool, progress: Callable[[str], None]) -> Manifest:
    """Write the configured database into `file`. Raises StartError, ConfigurationError, DatabaseUnavailable."""
    async with our_database(config) as ours:
        await install_schema(ours.url)
        return await backup.back_up(ours.url, file, vectors=vectors, progress=progress)


async def put_back(config: Config, file: Path, *, replace: bool, progress: Callable[[str], None]) -> Manifest:
    """Make the configured database what it was, ready for searches. Raises as `back_up` does."""
    async with our_database(config) as ours:
        return await put_back_into(ours.url, file, replace=replace, progress=progress)


async def put_back_into(url: str, file: Path, *, replace: bool, progress: Callable[[str], None]) -> Manifest:
    """The same for a database that is named."""
    manifest = await restore.restore(url, file, replace=replace, progress=progress)
    await install_schema(url)
    database = Database(url)
    await database.open()
    try:
        spaces = Spaces(database)
        await spaces.renew_searches()
        for listed in await spaces.all():
            if listed.state is SpaceState.RETIRED:
                continue
            indexes = SearchIndexes(database, listed.stored)
            for name in await indexes.missing():
                progress(f"index {name}")
                await indexes.build(name, memory=usable_memory() // 4, workers=usable_cores() - 1)
    finally:
        await database.close()
    return manifest
