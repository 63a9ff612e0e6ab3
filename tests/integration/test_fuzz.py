# SPDX-License-Identifier: AGPL-3.0-or-later
"""Damaged files of every format give text or a verdict. What is damaged is the same in each run."""

from __future__ import annotations

import asyncio
import mimetypes
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from context_chat_backend.errors import ParserKilled, SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.parsing.sandbox import Sandbox
from tests.mutation import damaged

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
FEW, MANY = 10, 200


def samples() -> list[Path]:
    """One file of each kind and program, whole and broken; reading of pictures takes too long for this."""
    found = [*(ROOT / "samples" / "documents").rglob("*.*"), *(ROOT / "tests" / "data").rglob("*.*")]
    beside = {".py", ".txt.expected"}
    return sorted(
        file
        for file in found
        if file.is_file() and file.suffix not in PICTURES | beside and not {"scan", "expected"} & set(file.parts)
    )


async def outcomes(folder: Path, files: Iterable[Path], times: int) -> Counter[str]:
    """What became of each file, damaged so many times. Anything but text or a verdict is raised, with its name."""
    counted: Counter[str] = Counter()
    sandbox = Sandbox(2, folder, limits=Limits(file_seconds=20))
    await sandbox.start()

    async def read(file: Path, number: int) -> None:
        content = damaged(file.read_bytes(), random.Random(f"{file.name} {number}"))
        body = folder / f"{file.name}-{number}"
        body.write_bytes(content)
        try:
            document = await sandbox.parse(body, mimetypes.guess_type(file.name)[0] or "", file.name)
            assert document.parts
            assert all(part.text.strip() for part in document.parts)
            counted["text"] += 1
        except SourceRejected as rejection:
            counted[f"killed: {rejection}" if isinstance(rejection, ParserKilled) else str(rejection)] += 1
        except Exception as error:
            raise AssertionError(f"{file}, damage {number}: {error!r}") from error
        finally:
            body.unlink()

    try:
        for file in files:
            await asyncio.gather(*(read(file, number) for number in range(times)))
    finally:
        await sandbox.close()
    return counted


async def test_a_few_damages_of_each_sample(tmp_path: Path) -> None:
    files = samples()
    counted = await outcomes(tmp_path, files, FEW)

    assert counted.total() == len(files) * FEW
    assert counted["text"]
    assert counted["damaged or not of the declared format"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("folder", sorted({file.parent.name for file in samples()}))
async def test_many_damages_of_each_sample(tmp_path: Path, folder: str) -> None:
    files = [file for file in samples() if file.parent.name == folder]
    counted = await outcomes(tmp_path, files, MANY)

    assert counted.total() == len(files) * MANY
