# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run the steps of `repairs/` that this installation lacks: in order, once, before anything else starts.

`repair.info` in the storage names the steps that are done or to be skipped, one a line; `version.info` holds the
version that ran last. A step is written down as soon as it is done, so an interrupted run goes on where it stopped.
Steps are files `repair<major><minor:03>_date<stamp>.py` with a function `run(previous_version)`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from context_chat_backend.errors import StartError

_NAME = re.compile(r"repair(\d+)(\d{3})_date\d+\.py")
_FRESH = "0"


def run(storage: Path, repairs: Path, version: str) -> list[str]:
    """Bring `storage` to `version` by the steps in `repairs`; returns the names of those that ran.

    A fresh storage is stamped: no step applies to it. On a volume without `repair.info` the steps up to its
    `version.info` count as done. Raises StartError when a step fails, with the way out.
    """
    try:
        storage.mkdir(parents=True, exist_ok=True)
        with _alone(storage):
            return _run(storage, repairs, version)
    except OSError as error:
        raise StartError.not_writable(storage, error) from error


def _run(storage: Path, repairs: Path, version: str) -> list[str]:
    steps = sorted(path for path in repairs.glob("repair*.py") if _NAME.fullmatch(path.name))
    previous = _previous_version(storage)
    info = storage / "repair.info"
    if not info.exists():
        had = [step for step in steps if previous == _FRESH or _release(step) <= _of(previous)]
        _write(info, "".join(f"{step.name}\n" for step in had))
    done = set(info.read_text(encoding="utf-8").split())
    missing = [step for step in steps if step.name not in done and step.stem not in done]
    for step in missing:
        _perform(step, storage, previous)
        with info.open("a", encoding="utf-8") as lines:
            lines.write(f"{step.name}\n")
    _write(storage / "version.info", f"{version}\n")
    return [step.name for step in missing]


def _perform(step: Path, storage: Path, previous: str) -> None:
    try:
        _load(step).run(previous, storage)
    except Exception as error:
        raise StartError(
            f"the repair step {step.name} failed ({type(error).__name__}: {error}). Nothing after it was changed. Mend "
            f"the cause and start again; or, to go on without it, add a line '{step.name}' to "
            f"{storage / 'repair.info'}; or restore the storage from a backup and run version {previous}"
        ) from error


def _load(step: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(step.stem, step)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _previous_version(storage: Path) -> str:
    """What `version.info` says; '0' for a fresh storage, '1' for one from before the file existed."""
    file = storage / "version.info"
    if file.exists():
        versions = file.read_text(encoding="utf-8").split()  # once a list, one line for each version that ran
        return versions[-1] if versions else "1"
    # A configuration alone is no sign of age: administrators mount one into a fresh volume.
    return "1" if (storage / "vector_db_data").exists() else _FRESH


def _of(version: str) -> tuple[int, int]:
    """Major and minor number of a version such as '4.6.0' or '4.0.0-beta4'."""
    numbers = [int(digits) for digits in re.findall(r"\d+", version)[:2]]
    major, minor, *_ = [*numbers, 0, 0]
    return major, minor


def _release(step: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(step.name)
    assert match is not None, "only files with such names are taken"
    return int(match[1]), int(match[2])


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)


@contextmanager
def _alone(storage: Path) -> Iterator[None]:
    """Two programs that start on one storage do not run steps at once: the second waits, and finds them done."""
    with (storage / "repair.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
