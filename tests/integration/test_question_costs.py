# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a question may cost: no process is started for it, and no tokenizer is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import Program, part

QUESTION = {"query": "What does the roof cost?", "userId": "alice"}


@pytest.fixture(scope="module")
def program(module_storage: Path, module_database_url: str) -> Iterator[Program]:
    """With the packaged embedding model, whose tokenizer is a file."""
    (module_storage / "config.yaml").write_text("embedding:\n  onnx:\nllm:\n  extractive:\n", encoding="utf-8")
    with Program(module_storage, {"CCB_DB_URL": module_database_url}) as running:
        running.load([part("files__default: 1", b"The roof costs 4,000 euros.")])
        running.wait_for_indexed(1)
        yield running


def family(process: int) -> list[int]:
    """A process and all below it, with threads' children."""
    found = [process]
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text().split():
            found += family(int(child))
    return found


def test_questions_start_no_process_and_read_no_tokenizer(program: Program) -> None:
    assert program.process is not None
    program.post("/query", QUESTION)
    before = family(program.process.pid)
    read = {process: read_characters(process) for process in before}

    for _ in range(20):
        assert program.post("/query", QUESTION)["output"] == "The roof costs 4,000 euros. [1]"

    after = family(program.process.pid)
    assert sorted(after) == sorted(before)
    for process in before:
        assert read_characters(process) - read[process] < 400_000  # the smallest tokenizer is a file of 700 kB


def read_characters(process: int) -> int:
    """Bytes a process has read so far, from files, pipes and sockets alike."""
    return int(Path(f"/proc/{process}/io").read_text().split("rchar: ")[1].split()[0])
