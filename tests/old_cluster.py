# SPDX-License-Identifier: AGPL-3.0-or-later
"""A PostgreSQL cluster of an earlier major version, as another program left it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from context_chat_backend.store import embedded_place
from context_chat_backend.store.old_server import OldServer

EARLIER = "16"
"""What the bundled programs know beside the present version; the reference's volumes are of 17."""


def make_cluster(data: Path, major: str = EARLIER) -> None:
    """An empty cluster in the folder `data`, owned by whoever would run it."""
    data.mkdir(parents=True)
    binaries = embedded_place.binaries_of(major)
    owner = embedded_place._system_user() if os.geteuid() == 0 else None
    command: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-sync",
    ]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    if owner is None:
        subprocess.run(command, check=True, capture_output=True, cwd="/", env=environment)
        return
    os.chown(data, owner.uid, owner.gid)
    subprocess.run(
        command, check=True, capture_output=True, cwd="/", env=environment,
        user=owner.uid, group=owner.gid, extra_groups=[],
    )  # fmt: skip


@asynccontextmanager
async def running(data: Path, database: str) -> AsyncIterator[str]:
    """The URL of a database of that name in a running cluster, made where it is missing."""
    server = OldServer(data)
    await server.start()
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {database}")
        with psycopg.connect(server.url(database), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield server.url(database)
    finally:
        await server.stop()
