# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program is sent files made to harm it, among honest ones."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend.parsing.formats import recognition
from tests import commands, hostile
from tests.memory import Watch
from tests.program import ROOT, Program, part
from tests.waiting import until

GOOD = 100
MOST_BYTES = 1536 * 1024**2
_GREEDY = [hostile.REJECTED["zip bomb"], hostile.REJECTED["zip bomb that lies"]]


def command(storage: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "APP_PERSISTENT_STORAGE": str(storage)}
    return commands.run(*arguments, environment=environment)


def status(storage: Path) -> dict[str, Any]:
    printed = command(storage, "status", "--json")
    assert printed.returncode == 0, printed.stderr
    found: dict[str, Any] = json.loads(printed.stdout)
    return found


def test_each_is_rejected_alone_within_the_memory_of_the_service(storage: Path) -> None:
    storage.joinpath("config.yaml").write_text("embedding:\n  hashing: {}\nparser_processes: 2\n")
    good = [
        part(f"files__default: {number}", f"The boiler of flat {number} was serviced in May.".encode())
        for number in range(1, GOOD + 1)
    ]
    bad = {
        f"files__default: {number}": (name, *made)
        for number, (name, made) in enumerate(
            (hostile.REJECTED | {"loop": (hostile.looping_pdf, "application/pdf", "its parser crashed")}).items(), 1001
        )
    }
    parts = [part(ref, make(), type=kind, title=f"files/{name}") for ref, (name, make, kind, _) in bad.items()]

    with Program(storage) as program:
        assert program.process is not None
        with Watch(program.process.pid) as watch:
            sent = [*parts[:5], *good[: GOOD // 2], *parts[5:], *good[GOOD // 2 :]]
            assert program.load(sent).status_code == 200
            until(lambda: not status(storage)["states"].get("waiting"), 120)
            found = status(storage)

        assert found["states"] == {"indexed": GOOD, "rejected": len(bad) - 1, "quarantined": 1}
        assert {one["source"]: one["reason"] for one in found["rejected"]} == {
            ref: reason for ref, (_, _, _, reason) in bad.items()
        }
        assert program.search("alice", "boiler of flat 77")[0] == "files__default: 77"
        print(f"at most {watch.most >> 20} MiB")
        assert watch.most < MOST_BYTES

        (quarantined,) = (one["source"] for one in found["rejected"] if one["state"] == "quarantined")
        assert "let out" in command(storage, "status").stdout
        assert "9 are tried again" in command(storage, "retry").stdout  # all that were rejected, not this one
        assert "1 are tried again" in command(storage, "retry", quarantined).stdout


@pytest.mark.slow
@pytest.mark.skipif(not recognition.installed(), reason="no language of tesseract is installed")
def test_pictures_are_read_within_the_memory_of_the_service(storage: Path) -> None:
    storage.joinpath("config.yaml").write_text("embedding:\n  hashing: {}\nparser_processes: 2\n")
    files = [
        file
        for kind in ("png", "jpg", "tiff", "scan")
        for file in sorted((ROOT / "tests" / "data" / kind).iterdir())
        if file.stem not in ("empty", "broken")
    ]
    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".tiff": "image/tiff", ".pdf": "application/pdf"}
    pictures = [
        part(
            f"files__default: {number}", file.read_bytes(), type=kinds[file.suffix], title=f"files/{number}/{file.name}"
        )
        for number, file in enumerate(files * 2)
    ]
    bombs = [part(f"files__default: {n}", make(), type=kind) for n, (make, kind, _) in enumerate(_GREEDY, 1001)]

    with Program(storage) as program:
        assert program.process is not None
        with Watch(program.process.pid) as watch:
            assert program.load([*pictures, *bombs]).status_code == 200
            until(lambda: not status(storage)["states"].get("waiting"), 120)
            found = status(storage)

    assert found["states"] == {"indexed": len(pictures), "rejected": len(bombs)}
    print(f"at most {watch.most >> 20} MiB")
    assert watch.most < MOST_BYTES
