# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backup of the configured database, and its way back: with the steps it lacks and with the indexes of search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from context_chat_backend.config import Config
from context_chat_backend.errors import StartError
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.store import backup, restore
from context_chat_backend.store.archive import Manifest
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import DATABASE, EmbeddedPostgres
from context_chat_backend.store.embedded_place import MAJOR, find_place, older_cluster
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.old_server import OldServer
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


@dataclass(frozen=True)
class CarriedOver:
    """What became of an earlier cluster."""

    manifest: Manifest
    kept: Path
    """Where its data lie now."""


async def carry_over(config: Config, postgres: Path | None, progress: Callable[[str], None]) -> CarriedOver | None:
    """Carry the embedded database over from an earlier major version; None when there is none.

    `postgres` is the folder of its programs, where it must be named. The old data are kept under another name; until
    that is done no program starts on either, and a run that was cut off is made again. Raises StartError,
    DatabaseUnavailable.
    """
    if config.database_url is not None:
        raise StartError("an external database is configured: its server is upgraded by whoever runs it")
    home = (await asyncio.to_thread(find_place, config.storage)).home
    older = older_cluster(home)
    if older is None:
        return None
    file = config.storage / "upgrade.backup"
    file.unlink(missing_ok=True)
    server = OldServer(older, postgres)
    await server.start()
    try:
        url = server.url(DATABASE)
        await install_schema(url)  # it may be of an earlier version of the program, too
        await backup.back_up(url, file, progress=lambda table: progress(f"reading {table}"))
    finally:
        await server.stop()
    new = EmbeddedPostgres(config.storage, beside_older=True)
    url = await new.start()
    try:
        await install_schema(url)
        manifest = await put_back_into(url, file, replace=True, progress=lambda what: progress(f"writing {what}"))
    finally:
        await new.stop()
    kept = older.with_name(f"{older.name}.before-{MAJOR}")
    older.rename(kept)
    file.unlink()
    return CarriedOver(manifest, kept)


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
