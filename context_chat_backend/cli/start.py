# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every command does first: repair steps, configuration, logging; in that order (ruling 24)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from context_chat_backend import __version__, config, hardware, logs, upgrade
from context_chat_backend.config import Config
from context_chat_backend.settings.environment import configuration_of, read_environment, storage_of
from context_chat_backend.wiring import Backend

ROOT = Path(__file__).resolve().parents[2]
"""Where `repairs/`, `samples/` and the two configuration files lie."""


def read_configuration(*, quiet: bool = False, told: Mapping[str, str] | None = None) -> Config:
    """Bring files up to date, choose a configuration at the first start, read it, start logging.

    What is `told` on the command line wins over the environment. Of `quiet` commands the terminal gets warnings only:
    they print what they have to say.

    Raises ConfigurationError, StartError.
    """
    environment = read_environment(Path.cwd()) | dict(told or {})
    storage = storage_of(environment)
    upgrade.run(storage, ROOT / "repairs", __version__)
    is_there = configuration_of(environment, Path.cwd()) is not None
    found = None if is_there else hardware.choose_configuration(storage, ROOT, environment)
    settings = config.load(environment, cores=hardware.usable_cores())
    logs.configure(settings.log_level, settings.storage / "logs", quiet=quiet, secrets=config.secrets_of(settings))
    log = logs.get_logger(__name__)
    if found is not None:
        log.info("configuration_chosen", device=found.device, reason=found.reason)
    for warning in settings.warnings:
        log.warning("configuration", note=warning)
    return settings


@asynccontextmanager
async def open_backend(settings: Config, *, indexing: bool) -> AsyncIterator[Backend]:
    """A running backend, closed at the end; with `indexing` the workers run."""
    backend = Backend(settings)
    await backend.start(indexing=indexing)
    try:
        yield backend
    finally:
        await backend.close()


def with_backend(work: Callable[[Backend], Awaitable[int]], *, indexing: bool = False) -> int:
    """Run the `work` of a command with a backend as the configuration says; returns the exit code of `work`.

    Raises what read_configuration, open_backend and `work` raise.
    """

    async def opened() -> int:
        # A terminated command must leave the database as an interrupted one does.
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with open_backend(read_configuration(quiet=True), indexing=indexing) as backend:
            return await work(backend)

    return asyncio.run(opened())
