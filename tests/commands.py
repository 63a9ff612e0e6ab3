# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program in processes of its own, each forked from one that has imported it.

To import the program takes longer than most of its commands, and than most starts; a run of the tests needs hundreds
of them. What `main.py` itself does is tested by running it.
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
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = {"program": "context_chat_backend.cli.app", "nextcloud": "tests.nextcloud_double.__main__"}
"""Modules, each with a function `main`."""
_SECONDS = 120
_LOOK_SECONDS = 0.01


class Forked:
    """A process that was forked, as the module subprocess shows one; it runs a `function` of those in FUNCTIONS."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: IO[Any],
        told: IO[Any],
        function: str = "program",
    ) -> None:
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (output, told)]
        wanted = {
            "function": function, "arguments": list(arguments), "environment": dict(environment), "files": files,
        }  # fmt: skip
        self.args = list(arguments)
        self.pid = int(_forking().ask(wanted))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, below zero after a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _forking().ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended. Raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(_LOOK_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Where it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def run(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What `main.py` prints with these arguments in this environment and no other, and its exit code.

    Raises TimeoutExpired after two minutes; it is killed then.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        process = Forked(arguments, environment, output, complaints)
        try:
            code = process.wait(_SECONDS)
        finally:
            process.kill()
        told = []
        for file in (output, complaints):
            file.seek(0)
            told.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *told)


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

    def ask(self, wanted: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


_forking = cache(_Forking)


def fork_each() -> None:
    """Read from the standard input, a line each, what to start or of whom to tell; write its id or its exit code."""
    called = {name: import_module(module).main for name, module in FUNCTIONS.items()}
    gc.freeze()  # else the end of each child copies and clears all that was imported
    for line in sys.stdin.buffer:
        wanted = json.loads(line)
        told = _ended(wanted["ended"]) if "ended" in wanted else _forked(called, wanted)
        os.write(1, json.dumps(told).encode() + b"\n")


def _ended(id_: int) -> int | None:
    gone, status = os.waitpid(id_, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if gone else None


def _forked(called: Mapping[str, Callable[[Sequence[str]], int]], wanted: Mapping[str, Any]) -> int:
    """The id of the process; it itself does not come back from here."""
    opened = [os.open(os.devnull, os.O_RDONLY), *(os.open(file, os.O_WRONLY | os.O_APPEND) for file in wanted["files"])]
    id_ = os.fork()
    if id_ == 0:
        for number, file in enumerate(opened):
            os.dup2(file, number)
    for file in opened:
        os.close(file)
    if id_ == 0:
        os.environ.clear()
        os.environ.update(wanted["environment"])
        sys.argv = ["main.py", *wanted["arguments"]]
        sys.exit(called[wanted["function"]](wanted["arguments"]))
    return id_
