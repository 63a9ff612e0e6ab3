# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run the steps of `repairs/` that this installation lacks: in order, once, before anything else starts.

`repair.info` in the storage names the steps that are done or to be skipped, one a line; `version.info` holds the
version that ran last. A step is written down as soon as it is done, so an interrupted run goes on where it stopped.
A storage that a newer version of ours has used is refused, for nobody knows what that one changed.
Steps are files `repair<major><minor:03>_date<stamp>.py` with a function `run(previous_version)`; one that works on the
storage takes it as a second parameter. Those that end in `.sql` are for the database (store/history.py).
"""

from __future__ import annotations

import fcntl
import importlib.util
import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from context_chat_backend.errors import StartError

_NAME = re.compile(r"repair(\d+)(\d{3})_date\d+\.py")
_FRESH = "0"


def run(storage: Path, repairs: Path, version: str) -> list[str]:
    """Bring `storage` to `version` by the steps in `repairs`; returns the names of those that ran.

    A fresh storage is stamped: no step applies to it. On a volume of the reference its steps up to the version in
    `version.info` count as done (ruling 24). Raises StartError, with the way out, when a step fails or when
    a newer version was here.
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
    if not previous.endswith("+") and _of(previous) > _of(version):
        raise StartError(
            f"{storage} was last used by version {previous}, and this is {version}: run {previous} or a later version, "
            f"or restore a backup made by {version} or an earlier one into an empty storage (docs/upgrade.md)"
        )
    info = storage / "repair.info"
    done = info.read_text(encoding="utf-8").split() if info.exists() else []
    if previous == _FRESH and not done:
        had = steps
    elif previous.endswith("+") or not done:
        had = [step for step in steps if _release(step) <= _of(previous)]
    else:
        had = []
    done += [step.name for step in had if not {step.name, step.stem} & set(done)]
    _write(info, done)
    missing = [step for step in steps if not {step.name, step.stem} & set(done)]
    for step in missing:
        _perform(step, storage, previous.rstrip("+"))
        done.append(step.name)
        _write(info, done)
    _write(storage / "version.info", [version])
    return [step.name for step in missing]


def _perform(step: Path, storage: Path, previous: str) -> None:
    try:
        run_step = _load(step).run
        run_step(*(previous, storage)[: len(inspect.signature(run_step).parameters)])
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
    """What `version.info` says; '0' for a fresh storage, '1' for one from before the file existed.

    The reference ends a version with '+' once the steps of that version have run.
    """
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


def _write(path: Path, lines: Sequence[str]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    temporary.rename(path)


@contextmanager
def _alone(storage: Path) -> Iterator[None]:
    """Two programs that start on one storage do not run steps at once: the second waits, and finds them done."""
    with (storage / "repair.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
