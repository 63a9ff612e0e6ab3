# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that kill, stall or exhaust their parser are rejected alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from context_chat_backend.domain import Document
from context_chat_backend.errors import ParserKilled, SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.parsing.formats import recognition
from context_chat_backend.parsing.sandbox import Sandbox
from tests.readers import imported_modules, read_as_told, recognise, say_something
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    made = Sandbox(2, tmp_path, limits=Limits(file_seconds=3), reader=read_as_told)
    await made.start()
    yield made
    await made.close()


def a_file(folder: Path) -> Path:
    file = folder / "file"
    file.write_text("content")
    return file


async def outcome(sandbox: Sandbox, folder: Path, content: str) -> str:
    file = folder / content
    file.write_text(content)
    try:
        return (await sandbox.parse(file, "", "")).parts[0].text
    except SourceRejected as rejection:
        return str(rejection.reason)


@pytest.mark.parametrize(
    ("limits", "told"), [(Limits(), "read"), (Limits(file_memory_bytes=2**29), "its parser needed too much memory")]
)
async def test_a_process_has_so_much_memory(tmp_path: Path, limits: Limits, told: str) -> None:
    made = Sandbox(1, tmp_path, limits=limits, reader=read_as_told)
    await made.start()
    assert await outcome(made, tmp_path, "700 MiB") == told
    await made.close()


async def test_each_bad_file_is_rejected_with_its_reason_and_good_ones_beside_it_are_read(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    told = [
        "good 1",
        "segfault",
        "good 2",
        "loop",
        "good 3",
        "memory",
        "fault",
        "exit",
        "panic",
        "unreadable",
        "deep",
        "empty",
        *map(str, range(20)),
    ]

    outcomes = await asyncio.gather(*(outcome(sandbox, tmp_path, content) for content in told))

    assert dict(zip(told, outcomes, strict=True)) == dict.fromkeys(told, "read") | {
        "segfault": "its parser crashed",
        "loop": "its parser took too long",
        "memory": "its parser needed too much memory",
        "exit": "its parser crashed",
        "panic": "its parser crashed",
        "fault": "damaged or not of the declared format",
        "unreadable": "damaged or not of the declared format",
        "deep": "nested too deeply",
        "empty": "empty",
    }


async def test_a_fault_of_the_machine_is_no_verdict_on_the_file(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await sandbox.parse(tmp_path / "gone", "", "")
    with pytest.raises(OSError, match="Input/output error"):
        await outcome(sandbox, tmp_path, "disk")


async def test_what_a_parser_prints_is_not_seen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = Sandbox(1, tmp_path, reader=say_something)
    await made.start()
    assert (await made.parse(a_file(tmp_path), "", "")).parts[0].text == "read"
    await made.close()

    assert "secret" not in "".join(capfd.readouterr())


async def test_a_parser_imports_nothing_but_the_parsing(tmp_path: Path) -> None:
    made = Sandbox(1, tmp_path, reader=imported_modules)
    await made.start()
    modules = set((await made.parse(a_file(tmp_path), "", "")).parts[0].text.split())
    await made.close()

    rooms = {name.split(".")[1] for name in modules if name.startswith("context_chat_backend.")}
    assert rooms <= {"domain", "errors", "limits", "parsing"}
    assert not modules & {"numpy", "psycopg", "fastapi", "httpx", "onnxruntime", "langchain"}


@pytest.mark.skipif("deu" not in recognition.installed(), reason="tesseract-ocr-deu is not installed")
async def test_text_in_pictures_is_read_by_a_confined_parser_in_the_languages_it_is_told(tmp_path: Path) -> None:
    made = Sandbox(1, tmp_path, languages=["deu"])
    await made.start()
    document = await made.parse(ROOT / "tests/data/tiff/ghostscript.tiff", "image/tiff", "")
    await made.close()

    assert [part.location.page for part in document.parts] == [1, 2]
    assert "roof costs 84500" in document.parts[0].text


async def test_pictures_are_read_one_file_at_a_time_and_waiting_costs_none_of_its_time(tmp_path: Path) -> None:
    made = Sandbox(3, tmp_path, reader=recognise, limits=Limits(file_seconds=2))
    await made.start()
    files = [tmp_path / str(number) for number in range(5)]
    for file in files:
        file.write_bytes(b"segfault" if file.name == "2" else b"picture")
    found = await asyncio.gather(*(made.parse(file, "image/png", "") for file in files), return_exceptions=True)
    await made.close()

    assert isinstance(found.pop(2), ParserKilled)
    documents = [one for one in found if isinstance(one, Document)]
    times = sorted(tuple(map(float, document.parts[0].text.split())) for document in documents)
    assert len(times) == 4
    assert all(one[1] <= following[0] for one, following in pairwise(times))


def test_parsers_die_with_the_program(tmp_path: Path) -> None:
    (tmp_path / "loop").write_text("loop")
    program = (
        "import asyncio, pathlib\n"
        "from context_chat_backend.parsing.sandbox import Sandbox\n"
        "from tests.readers import read_as_told\n"
        "async def main():\n"
        f"    sandbox = Sandbox(1, pathlib.Path({str(tmp_path)!r}), reader=read_as_told); await sandbox.start()\n"
        f"    await sandbox.parse(pathlib.Path({str(tmp_path / 'loop')!r}), '', '')\n"
        "if __name__ == '__main__':\n    asyncio.run(main())\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,  # what multiprocessing says about a killed parent
    )
    until(lambda: children(process.pid))
    parsers = children(process.pid)
    process.kill()
    process.wait()

    assert parsers
    until(lambda: not any(map(alive, parsers)))


def children(parent: int) -> list[int]:
    """Processes of `parent` that are confined: their limit of memory is set."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    listed += [
        pid for task in Path(f"/proc/{parent}/task").iterdir() for pid in (task / "children").read_text().split()
    ]
    return [
        int(pid)
        for pid in set(listed)
        if "unlimited" not in Path(f"/proc/{pid}/limits").read_text().partition("Max address space")[2].splitlines()[0]
    ]


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
