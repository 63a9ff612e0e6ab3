# SPDX-License-Identifier: AGPL-3.0-or-later
"""Processes in which local models run: how they are started, what their errors are here, and why they died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.errors import (
    ConfigurationError,
    ContextChatError,
    ModelUnavailable,
    PromptTooLong,
    TextRefused,
)
from context_chat_backend.settings.environment import environment_without_secrets

_NICE = 5
"""A third of what others get while they want all: documents still get on."""
_ROOT = Path(__file__).resolve().parents[2]
_ERRORS: Mapping[str, type[ContextChatError]] = {
    error.__name__: error for error in (ConfigurationError, ModelUnavailable, PromptTooLong, TextRefused)
}


def stand_back() -> None:
    """Let this thread, and those it starts, have what others leave of the processor: what it does can wait."""
    os.nice(_NICE)  # Linux does so for the thread alone


def spawn(module: str) -> subprocess.Popen[bytes]:
    """Run one of our modules in a process, in a group of its own, so that Ctrl-C reaches it through us alone.

    Not in a session of its own: Linux may give all sessions the same share of the processor (sched_autogroup), and to
    stand back would then count for nothing. Of our environment it gets what its libraries may look at, and no secret.
    Its standard input and output are pipes; its errors lead nowhere: what a library prints may quote users' content.
    """
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module],
        cwd=_ROOT,
        env=environment_without_secrets(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def error_said(error: Exception, model: str) -> dict[str, str]:
    """An error in the process as it is sent to the program; `model` is what it is called there."""
    if isinstance(error, MemoryError):
        error = ModelUnavailable(f"the memory does not suffice for {model}: choose a smaller one")
    elif not isinstance(error, ContextChatError):  # its text may quote users' content
        error = ModelUnavailable(f"{model} fails ({type(error).__name__})")
    return {"error": type(error).__name__, "said": str(error)}


def error_heard(message: Mapping[str, Any]) -> ContextChatError:
    """The error that such a message tells of."""
    return _ERRORS.get(message["error"], ModelUnavailable)(message["said"])


def cause_of_death(code: int | None) -> str:
    """What a process' exit code says, and the cure."""
    if code is None:
        return "it closed the connection"
    if code >= 0:
        return f"it ended with code {code}"
    if -code == signal.SIGILL:
        return (
            "this processor lacks an instruction the library was built for; build it here "
            "(CMAKE_ARGS=-DGGML_NATIVE=OFF pip install --no-binary :all: llama-cpp-python), or use embedding.onnx"
        )
    if -code == signal.SIGKILL:
        return "it was killed, most likely for want of memory: choose a smaller model or give it more memory"
    return f"it crashed ({signal.Signals(-code).name}): a broken model file, or a fault of its library"
