# SPDX-License-Identifier: AGPL-3.0-or-later
"""Formats of the tests: what they do to the process that reads them. Parser processes import this module."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from context_chat_backend.domain import Document, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing import parse as parsing
from context_chat_backend.parsing.formats import recognition


def parse(file: Path, media_type: str) -> Document:
    """The document in a file, read in this process."""
    return parsing.parse(file.read_bytes(), media_type)


class Panic(BaseException):
    """As a library in Rust raises it: no Exception, and it cannot be pickled."""

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


def say_something(_content: bytes, _media_type: str) -> Document:
    """Print as a library may that quotes the file it cannot read."""
    os.write(1, b"a secret of the file")
    os.write(2, b"a secret of the file")
    return Document((Part("read"),))


def recognise(content: bytes, _media_type: str) -> Document:
    """A picture that takes a while, or kills its parser; says when it was read."""
    recognition.await_turn()
    began = time.monotonic()
    time.sleep(0.25)
    if content == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    recognition.await_turn()  # there are several in it
    time.sleep(0.25)
    return Document((Part(f"{began} {time.monotonic()}"),))


def read_as_told(content: bytes, media_type: str) -> Document:
    """A format whose files say what happens to their parser. Runs in the parser processes."""
    match content.decode():
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "loop":
            while True:
                pass
        case "memory":
            _ = bytearray(8 * 1024**3)
        case "700 MiB":
            _ = bytearray(700 * 1024**2)
        case "exit":
            os._exit(0)
        case "panic":
            raise Panic
        case "fault":
            raise KeyError("a fault of the parser")
        case "disk":
            raise OSError(errno.EIO, "the disk is broken")
        case "unreadable":
            raise OSError("cannot identify this file")
        case "deep":
            read_as_told(content, media_type + ".")
        case "empty":
            raise SourceRejected(Reason.EMPTY)
    return Document((Part("read"),))


def try_to(content: bytes, _media_type: str) -> Document:
    """A format whose files say what their parser tries to do; the text is what it got, or the error."""
    what, _, on = content.decode().partition(" ")
    try:
        got = str(_ATTEMPTS[what](on))
    except OSError as error:
        got = errno.errorcode[error.errno or 0]
    return Document((Part(f"<{got}>"),))


def _start_thread(_: str) -> str:
    outcome: list[str] = []
    thread = threading.Thread(target=lambda: outcome.append("done"))
    thread.start()
    thread.join()
    return outcome[0]


def _fork(_: str) -> str:
    if os.fork() == 0:
        os._exit(0)
    return "done"


def _unlimit(_: str) -> str:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:  # what Python makes of "not permitted"
        return str(error)
    return "done"


def _grow(megabytes: str) -> str:
    held = bytearray(b"1") * (int(megabytes) * 1024**2)
    time.sleep(1)
    return f"{len(held) >> 20} MB"


def _leak(megabytes: str) -> str:
    _leaked.append(bytearray(b"1") * (int(megabytes) * 1024**2))
    return str(os.getpid())


_leaked: list[bytearray] = []
_ATTEMPTS: dict[str, Callable[[str], object]] = {
    "connect": lambda port: socket.create_connection(("127.0.0.1", int(port))),
    "listen": lambda _: socket.create_server(("127.0.0.1", 0)),
    "unix": lambda path: socket.socket(socket.AF_UNIX).connect(path),
    "resolve": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "fork": _fork,
    "exec": lambda path: os.execv(path, [path]),
    "kill": lambda pid: os.kill(int(pid), signal.SIGTERM),
    "read": lambda path: Path(path).read_text(),
    "list": lambda path: list(Path(path).iterdir()),
    "write": lambda path: Path(path).write_text("written"),
    "append": lambda path: os.open(path, os.O_WRONLY | os.O_APPEND),
    "unlink": os.unlink,
    "rename": lambda path: Path(path).rename(f"{path}.renamed"),
    "mkdir": os.mkdir,
    "chmod": lambda path: Path(path).chmod(0o777),
    "truncate": lambda path: os.truncate(path, 0),
    "memory": lambda _: os.memfd_create("hidden"),
    "unlimit": _unlimit,
    "become": lambda _: os.setuid(0),
    "thread": _start_thread,
    "grow": _grow,
    "leak": _leak,
    "environment": lambda _: sorted(os.environ),
    "descriptors": lambda _: sorted(str(Path(f"/proc/self/fd/{name}").readlink())[:4] for name in _open_descriptors()),
    "pid": lambda _: os.getpid(),
}


def _open_descriptors() -> list[int]:
    return [number for number in range(64) if _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def imported_modules(_content: bytes, _media_type: str) -> Document:
    """What a process has imported before its first file. Its own module, which is a test, brings pytest only."""
    return Document((Part(" ".join(sys.modules)),))
