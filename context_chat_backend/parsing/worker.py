# SPDX-License-Identifier: AGPL-3.0-or-later
"""A parser process: it confines itself, then reads the files whose descriptors come through its one connection.

It is started by sandbox.py, which trusts nothing it says: replies are JSON of a known shape, never objects.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.parsing import limits
from context_chat_backend.parsing.confinement import confine
from context_chat_backend.parsing.formats import recognition

Reader = Callable[[bytes, str], Document]
"""From the bytes of a file and its declared media type to a document; raises SourceRejected."""

FRAME = struct.Struct("=I")
"""Before each message: how many bytes it has."""

_BATCH_CHARACTERS = 64 * 1024
_REQUEST_BYTES = 4096
_FAULTS_OF_THE_MACHINE = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ESTALE})


def serve(connection: int, parent: int, held: str, reader: str, languages: Sequence[str]) -> None:
    """Read files until the connection closes. `reader` names a function as `module:function`, `held` is Limits in JSON.

    `languages` are those of text in pictures, in the names of Tesseract.

    Where its module has a function `prepare`, that is called before the walls are built.
    """
    recognition.want(languages)
    limits.hold(Limits(**json.loads(held)))
    module = importlib.import_module(reader.partition(":")[0])
    read: Reader = getattr(module, reader.partition(":")[2])
    if hasattr(module, "prepare"):
        module.prepare()
    walls = confine(limits.held.file_memory_bytes, parent, [Path(__file__).resolve().parents[1]])
    gc.freeze()
    with socket.socket(fileno=connection) as link:
        recognition.take_turns(lambda: _await_turn(link))
        _send(link, {"walls": sorted(walls)})
        while (request := _receive(link)) is not None:
            media_type, file = request
            for reply in _replies(read, file, media_type):
                _send(link, reply)


def _receive(link: socket.socket) -> tuple[str, int] | None:
    """The declared media type of the next file and the descriptor it is read from; None when there is none."""
    message, descriptors, _, _ = socket.recv_fds(link, _REQUEST_BYTES, 1)
    if not message:
        return None
    return message.decode(), descriptors[0]


def _await_turn(link: socket.socket) -> None:
    """Ask to read pictures, and wait until no other process does."""
    _send(link, {"waits": True})
    if not link.recv(1):
        raise SystemExit


def _send(link: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message, ensure_ascii=False).encode()
    link.sendall(FRAME.pack(len(data)))
    link.sendall(data)


def _replies(read: Reader, file: int, media_type: str) -> Iterator[dict[str, Any]]:
    """What the program is told about one file: its parts in batches and an end, or why it cannot be read.

    Any fault of a parser means that the file cannot be read. A fault of the machine is no verdict on the file.
    """
    try:
        with os.fdopen(file, "rb") as stream:
            content = stream.read()
        document = read(content, media_type)
        del content
        yield from _parts(document)
        yield {"title": document.title, "parser": document.parser}
    except SourceRejected as rejection:
        yield {"rejected": rejection.reason}
    except MemoryError:
        yield {"rejected": Reason.PARSER_MEMORY}
    except RecursionError:
        yield {"rejected": Reason.TOO_DEEP}
    except OSError as error:
        if error.errno in _FAULTS_OF_THE_MACHINE:
            yield {"fault": error.errno}
        else:
            yield {"rejected": Reason.PARSER_MEMORY if error.errno == errno.ENOMEM else Reason.DAMAGED}
    except Exception:
        yield {"rejected": Reason.DAMAGED}
    except BaseException:  # a panic of a library that is written in Rust: what it left in memory is not used again
        yield {"died": True}


def _parts(document: Document) -> Iterator[dict[str, Any]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for part in document.parts:
        batch.append(asdict(part))
        size += len(part.text)
        if size > _BATCH_CHARACTERS:
            yield {"parts": batch}
            batch, size = [], 0
    if batch:
        yield {"parts": batch}
