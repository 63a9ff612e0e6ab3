# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one trial runs on: storage, database, Nextcloud, models, and the wires between them and the program."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.embedded_place import find_place
from context_chat_backend.store.history import install_schema
from tests.conftest import open_folder
from tests.embedding_server import embedding_server
from tests.nextcloud_double.process import Nextcloud
from tests.program import Program
from tests.trust.relay import Relay

_SOCKET = ".s.PGSQL.5432"
_DISK = "400m"
_STOP_SECONDS = 20.0


class Layout(StrEnum):
    """Where the parts of an installation are."""

    ONE_MACHINE = "one machine"  # embedded PostgreSQL; vectors by hashing
    OWN_MODEL = "own model"  # the same, with the bundled model in its process
    SMALL_DISK = "small disk"  # the same as the first, on a disk of its own
    APART = "apart"  # PostgreSQL and embeddings elsewhere


_EMBEDDING = {Layout.OWN_MODEL: "  onnx:\n", Layout.APART: "  openai:\n    base_url: {url}\n"}


@dataclass
class Place:
    """Everything that runs in a trial."""

    folder: Path
    layout: Layout
    nextcloud: Nextcloud
    program: Program
    server: EmbeddedPostgres
    """Beside the program: for its place and passwords. In the layout `apart` it was started by us."""
    wires: dict[str, Relay] = field(default_factory=dict)
    """To 'nextcloud', and where they are apart to the 'database' and the 'model'."""

    @property
    def database_url(self) -> str:
        """The program's database for the superuser, past all wires."""
        return self.server.superuser_url.replace("@/postgres?", "@/context_chat?")

    def database_processes(self) -> list[int]:
        """All processes of PostgreSQL, its first one first."""
        return sorted(self.server._processes())

    def postmaster(self) -> int:
        """The first process of PostgreSQL; 0 when there is none. It may be starting just now."""
        with suppress(OSError, ValueError, IndexError):
            told = int((self.server._place.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
            return told if told in self.database_processes() else 0
        return 0

    def children(self, word: str) -> list[int]:
        """The program's processes whose command line holds `word`."""
        assert self.program.process is not None
        return [pid for pid in _below(self.program.process.pid) if word in _command(pid)]


def make_template(folder: Path) -> None:
    """A cluster with the empty schema, which each trial copies."""

    async def make() -> None:
        server = EmbeddedPostgres(folder)
        await install_schema(await server.start())
        await server.stop()

    asyncio.run(make())


@contextmanager
def installed_place(template: Path, layout: Layout) -> Iterator[Place]:
    """All of it, running; nothing is registered. At the end nothing is left, and no process outlives it."""
    with ExitStack() as stack:
        folder = open_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        storage, base = folder / "storage", folder / "base"
        storage.mkdir()
        if layout is Layout.SMALL_DISK:
            stack.enter_context(_disk(storage))
        home = base if layout is Layout.APART else storage
        subprocess.run(["cp", "-a", f"{template}/.", str(home)], check=True)
        nextcloud = stack.enter_context(Nextcloud())
        wires = {"nextcloud": stack.enter_context(Relay(("127.0.0.1", nextcloud.port)))}
        environment = {"NEXTCLOUD_URL": f"http://127.0.0.1:{wires['nextcloud'].port}"}
        server = EmbeddedPostgres(home)
        server._place = find_place(home)
        embedding = _EMBEDDING.get(layout, "  hashing:\n")
        if layout is Layout.APART:
            asyncio.run(server.start())
            stack.callback(lambda: asyncio.run(server.stop()))
            wire = folder / "wire"
            wire.mkdir()
            wires["database"] = stack.enter_context(Relay(server._socket_folder() / _SOCKET, wire / _SOCKET))
            environment["CCB_DB_URL"] = _through(server, wire)
            models = stack.enter_context(embedding_server())
            wires["model"] = stack.enter_context(Relay(("127.0.0.1", int(models.url.split(":")[2].split("/")[0]))))
            embedding = embedding.format(url=f"http://127.0.0.1:{wires['model'].port}/v1")
        (storage / "config.yaml").write_text(f"embedding:\n{embedding}llm:\n  extractive:\n", encoding="utf-8")
        program = Program(storage, environment)
        place = Place(folder, layout, nextcloud, program, server, wires)
        stack.callback(_end, place)
        program.start(enable=False)
        yield place


def _through(server: EmbeddedPostgres, wire: Path) -> str:
    """The program's URL with the socket folder of the wire."""
    direct = quote(str(server._socket_folder()), safe="")
    return server.program_url().replace(direct, quote(str(wire), safe=""))


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A small disk of its own at `folder`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def may_mount() -> bool:
    """Whether disks can be mounted here."""
    if os.geteuid() != 0:
        return False
    folder = open_folder()
    try:
        with _disk(folder):
            return True
    except subprocess.CalledProcessError:
        return False
    finally:
        folder.rmdir()


def _end(place: Place) -> None:
    """Stop the program and what is left of it, whatever state a fault left it in."""
    for pid in place.database_processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    below = [] if place.program.process is None else _below(place.program.process.pid)
    try:
        place.program.stop()
    except (subprocess.TimeoutExpired, AssertionError):
        if place.program.process is not None:
            place.program.process.kill()
            place.program.process.wait()
    place.program.client.close()
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline and any(map(_lives, below)):
        time.sleep(0.1)
    if place.layout is not Layout.APART:
        below += place.database_processes()
    for pid in below:
        if _lives(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """Its children, and theirs."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *_below(int(child))]
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
