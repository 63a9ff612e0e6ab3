# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands of the command line, each in a process of its own: forked from one that has imported the program.

To import the program takes longer than most commands; a run of the tests needs hundreds of them. What `main.py`
itself does is tested by running it (tests/acceptance).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 120


class _Forking:
    """The process that forks, for as long as this one lives."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import fork_each; fork_each()"],
            cwd=ROOT, env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        atexit.register(self._end)

    def run(self, wanted: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


_forking = cache(_Forking)


def run(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What `main.py` prints with these arguments in this environment and no other, and its exit code.

    One that takes longer than two minutes is killed: its code is that of the signal, below zero.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (output, complaints)]
        code = _forking().run({"arguments": arguments, "environment": dict(environment), "files": files})
        told = []
        for file in (output, complaints):
            file.seek(0)
            told.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *told)


def fork_each() -> None:
    """Read what is wanted from the standard input, a line each; write the exit code of each command."""
    from context_chat_backend.cli.app import main

    gc.freeze()  # else the end of each child copies and clears all that was imported
    for line in sys.stdin.buffer:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.alarm(_SECONDS)
            os.environ.clear()
            os.environ.update(wanted["environment"])
            for number, file in enumerate(wanted["files"], start=1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.argv = ["main.py", *wanted["arguments"]]
            sys.exit(main(wanted["arguments"]))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{code}\n".encode())
