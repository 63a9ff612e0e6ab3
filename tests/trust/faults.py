# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes wrong in a trial: each fault is begun, lasts a moment, and is ended."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from tests.trust.place import Layout, Place
from tests.trust.relay import Wire

PARSERS = "context_chat_backend.parsing"
MODELS = "context_chat_backend.inference"
_BLOCK = 1024 * 1024
_BALLAST_LEAVES = 64 * 1024
_LOG_SHARE = 0.7
_LOOKS = 200


@dataclass(frozen=True)
class Fault:
    """One kind. `happens` begins it, lets it last for so many seconds, and ends it."""

    name: str
    layout: Layout
    happens: Callable[[Place, random.Random, float], None]


def _kill_program(place: Place, chance: random.Random, seconds: float) -> None:
    place.program.stop(signal.SIGKILL)
    place.program.start(enable=False)


def _kill_child(word: str) -> Callable[[Place, random.Random, float], None]:
    def kill(place: Place, chance: random.Random, seconds: float) -> None:
        for _ in range(_LOOKS):  # the process may be starting
            if found := place.children(word):
                os.kill(chance.choice(found), signal.SIGKILL)
                return
            time.sleep(0.05)
        raise AssertionError(f"there is no process of {word} to kill")

    return kill


def _kill_database(place: Place, chance: random.Random, seconds: float) -> None:
    os.kill(place.postmaster(), signal.SIGKILL)


def _kill_session(place: Place, chance: random.Random, seconds: float) -> None:
    """PostgreSQL ends all sessions when one dies, and recovers from its log."""
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'ccb'").fetchall()
        os.kill(chance.choice(rows)[0], signal.SIGKILL)


def _power_failure(place: Place, chance: random.Random, seconds: float) -> None:
    """Program, database and all else end at once; what was flushed to the disk is there."""
    below = place.database_processes()
    assert place.program.process is not None
    place.program.process.kill()
    for pid in below:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    place.program.stop(signal.SIGKILL)
    place.program.start(enable=False)


def _restart_program(place: Place, chance: random.Random, seconds: float) -> None:
    place.program.stop()
    place.program.start(enable=False)


def _kill_while_starting(place: Place, chance: random.Random, seconds: float) -> None:
    place.program.stop(signal.SIGKILL)
    starting = threading.Thread(target=_start_in_vain, args=(place,))
    starting.start()
    time.sleep(chance.uniform(0.1, 2.5))
    assert place.program.process is not None
    place.program.process.kill()
    starting.join()
    place.program.start(enable=False)


def _start_in_vain(place: Place) -> None:
    with suppress(AssertionError):
        place.program.start(enable=False)


def _start_set_back(place: Place, chance: random.Random, seconds: float) -> None:
    """A machine came up with a clock that was ahead, and after the next start it is right."""
    place.program.stop(signal.SIGKILL)
    _jump("+")(place, chance, seconds)
    place.program.start(enable=False)


def _restart_database(place: Place, chance: random.Random, seconds: float) -> None:
    asyncio.run(place.server._control("-w", "-m", "fast", "stop"))
    time.sleep(seconds)
    asyncio.run(place.server._launch())


def _stall_database(place: Place, chance: random.Random, seconds: float) -> None:
    """As when a disk does not answer: all its processes stand still."""
    stopped = place.database_processes()
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _slow_disk(place: Place, chance: random.Random, seconds: float) -> None:
    """Every commit waits a tenth of a second longer for the disk."""
    with _setting(place, ("commit_delay", "100000"), ("commit_siblings", "0")):
        time.sleep(seconds)


@contextmanager
def _setting(place: Place, *settings: tuple[str, str]) -> Iterator[None]:
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        for name, value in settings:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
        yield
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("SELECT pg_reload_conf()")


def _full_disk(place: Place, chance: random.Random, seconds: float) -> None:
    ballast = place.program.storage / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):  # until no more fits, whatever others write meanwhile
            while file.write(bytes(_BLOCK)):
                pass
        file.truncate(max(file.tell() - _BALLAST_LEAVES, 0))
    if chance.random() < _LOG_SHARE:
        _fill_log(place)
    time.sleep(seconds)
    ballast.unlink()


def _fill_log(place: Place) -> None:
    """PostgreSQL begins further files of its log until none finds room, which ends it."""
    with suppress(psycopg.OperationalError), psycopg.connect(place.database_url, autocommit=True) as connection:
        while True:
            connection.execute("SELECT txid_current(), pg_switch_wal()")


def _jump(sign: str) -> Callable[[Place, random.Random, float], None]:
    """After a jump of the database's clock all times in it are as much further away; it keeps no other clock."""

    def jump(place: Place, chance: random.Random, seconds: float) -> None:
        interval = f"{chance.choice([40, 3600, 86_400])} seconds"
        with psycopg.connect(place.database_url) as connection:
            columns = connection.execute(
                "SELECT table_schema, table_name, array_agg(column_name::text) FROM information_schema.columns "
                "JOIN information_schema.tables USING (table_schema, table_name) WHERE data_type LIKE 'timestamp%%' "
                "AND table_type = 'BASE TABLE' AND table_schema IN ('public', 'access', 'chat', 'knowledge') "
                "AND column_name NOT IN ('modified_at', 'indexed_modified_at') GROUP BY 1, 2 ORDER BY 1, 2"
            ).fetchall()
            for schema, table, names in columns:
                moved = ", ".join(f"{name} = {name} {sign} interval '{interval}'" for name in names)
                connection.execute(f"UPDATE {schema}.{table} SET {moved}".encode())

    return jump


def _every_wire(wire: Wire) -> Callable[[Place, random.Random, float], None]:
    def happen(place: Place, chance: random.Random, seconds: float) -> None:
        for relay in place.wires.values():
            relay.be(wire)
        time.sleep(seconds)
        for relay in place.wires.values():
            relay.be(Wire.WHOLE)

    return happen


def _wire(name: str, wire: Wire) -> Callable[[Place, random.Random, float], None]:
    def happen(place: Place, chance: random.Random, seconds: float) -> None:
        place.wires[name].be(wire)
        time.sleep(seconds)
        place.wires[name].be(Wire.WHOLE)

    return happen


FAULTS = [
    Fault("kill -9 of a parser", Layout.OWN_MODEL, _kill_child(PARSERS)),
    Fault("kill -9 of the model process", Layout.OWN_MODEL, _kill_child(MODELS)),
    Fault("disk full", Layout.SMALL_DISK, _full_disk),
    Fault("kill -9 of the program", Layout.ONE_MACHINE, _kill_program),
    Fault("slow disk", Layout.ONE_MACHINE, _slow_disk),
    Fault("kill -9 of the database", Layout.ONE_MACHINE, _kill_database),
    Fault("clock jumps ahead", Layout.ONE_MACHINE, _jump("-")),
    Fault("power failure", Layout.ONE_MACHINE, _power_failure),
    Fault("database stands still", Layout.ONE_MACHINE, _stall_database),
    Fault("kill -9 of a database session", Layout.ONE_MACHINE, _kill_session),
    Fault("clock jumps back", Layout.ONE_MACHINE, _jump("+")),
    Fault("start with a clock set back", Layout.ONE_MACHINE, _start_set_back),
    Fault("kill -9 while it starts", Layout.ONE_MACHINE, _kill_while_starting),
    Fault("restart of the program", Layout.ONE_MACHINE, _restart_program),
    Fault("everything cut off", Layout.APART, _every_wire(Wire.CUT)),
    Fault("nothing answers", Layout.APART, _every_wire(Wire.HOLE)),
    Fault("restart of the database", Layout.APART, _restart_database),
    Fault("Nextcloud cut off", Layout.APART, _wire("nextcloud", Wire.CUT)),
    Fault("Nextcloud does not answer", Layout.APART, _wire("nextcloud", Wire.HOLE)),
    Fault("answers of Nextcloud lost", Layout.APART, _wire("nextcloud", Wire.LOSES_ANSWERS)),
    Fault("slow network to Nextcloud", Layout.APART, _wire("nextcloud", Wire.SLOW)),
    Fault("model cut off", Layout.APART, _wire("model", Wire.CUT)),
    Fault("model does not answer", Layout.APART, _wire("model", Wire.HOLE)),
    Fault("database cut off", Layout.APART, _wire("database", Wire.CUT)),
    Fault("database does not answer", Layout.APART, _wire("database", Wire.HOLE)),
    Fault("answers of the database lost", Layout.APART, _wire("database", Wire.LOSES_ANSWERS)),
]
"""Each in the layout where it can happen; those of one machine happen wherever the database is there. Two neighbours,
from the first on, can happen in one layout."""


def layout_of(faults: list[Fault]) -> Layout | None:
    """The layout in which all of these can happen; None when there is none."""
    special = {fault.layout for fault in faults} - {Layout.ONE_MACHINE}
    if len(special) > 1 or (Layout.APART in special and any(fault.layout is Layout.ONE_MACHINE for fault in faults)):
        return None
    return special.pop() if special else Layout.ONE_MACHINE
