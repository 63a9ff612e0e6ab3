# SPDX-License-Identifier: AGPL-3.0-or-later
"""Damaged files of every format give text or a verdict. What is damaged is the same in each run."""

from __future__ import annotations

import asyncio
import io
import mimetypes
import random
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from context_chat_backend.errors import ParserKilled, SourceRejected
from context_chat_backend.parsing.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
NUMBERS = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"\x01\x00\x00\x00")
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


def damaged(content: bytes, chance: random.Random) -> bytes:
    """`content` with one to eight damages; in archives, often to what is inside."""
    if content.startswith(b"PK") and chance.random() < 0.6:
        return _damaged_inside(content, chance)
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        _damage(data, chance)
    return bytes(data)


def _damage(data: bytearray, chance: random.Random) -> None:
    place, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 16, 256))
    match chance.randrange(7):
        case 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        case 1:
            data[place : place + length] = chance.randbytes(length)
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = data[place : place + length] * chance.choice((1, 2, 1000))
        case 4:
            number = chance.choice(NUMBERS)
            data[place : place + len(number)] = number
        case 5:
            data[place:place] = chance.randbytes(length)
        case 6 if chance.random() < 0.3:
            del data[place:]


def _damaged_inside(content: bytes, chance: random.Random) -> bytes:
    target = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(target, "w") as copy:
            hit = chance.choice(archive.namelist())
            for entry in archive.infolist():
                data = bytearray(archive.read(entry))
                if entry.filename == hit:
                    _damage(data, chance)
                copy.writestr(entry.filename, bytes(data))
    except (zipfile.BadZipFile, OSError, IndexError):  # a sample that is broken already
        return content[: chance.randrange(len(content))]
    return target.getvalue()


async def outcomes(folder: Path, files: Iterable[Path], times: int) -> Counter[str]:
    """What became of each file, damaged so many times. Anything but text or a verdict is raised, with its name."""
    counted: Counter[str] = Counter()
    sandbox = Sandbox(2, folder, timeout_seconds=20)
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
