# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fetching models from a server that stalls, breaks, throttles and lies."""

from __future__ import annotations

import errno
import hashlib
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from context_chat_backend.errors import ModelNotFetched
from context_chat_backend.inference import download
from context_chat_backend.inference.catalogue import CATALOGUE, RemoteFile, RemoteModel
from context_chat_backend.inference.download import Transfer, fetch, is_there, wrong_files
from tests.model_server import ModelServer, model_server
from tests.waiting import PATIENCE

WEIGHTS = random.Random(3).randbytes(3_000_000)
ABOUT = b'{"hidden_size": 4}'


def remote(content: bytes, path: str, *, size: bool = True) -> RemoteFile:
    return RemoteFile(path, f"onnx/{path}", hashlib.sha256(content).hexdigest(), len(content) if size else None)


MODEL = RemoteModel(
    "tiny", "somebody/tiny", "c0ffee", "MIT", (remote(ABOUT, "config.json", size=False), remote(WEIGHTS, "model.onnx"))
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(download, "_LEFT_FREE", 0)
    with model_server() as running:
        running.files = {
            "/somebody/tiny/resolve/c0ffee/onnx/config.json": ABOUT,
            "/somebody/tiny/resolve/c0ffee/onnx/model.onnx": WEIGHTS,
        }
        yield running


def transfer(server: ModelServer, stall_seconds: float = PATIENCE) -> Transfer:
    return Transfer(server.url, stall_seconds=stall_seconds)


def holds(models: Path) -> bool:
    return (models / "tiny" / "model.onnx").read_bytes() == WEIGHTS and wrong_files(MODEL, models) == []


async def test_a_model_comes_with_all_its_files_and_nothing_else_is_left(server: ModelServer, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    assert not is_there(MODEL, tmp_path)
    await fetch(MODEL, tmp_path, lambda done, all_: told.append((done, all_)), transfer(server))

    assert holds(tmp_path)
    assert is_there(MODEL, tmp_path)
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["config.json", "model.onnx"]
    assert not (tmp_path / ".tiny.coming").exists()
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


async def test_what_is_there_is_not_fetched_again(server: ModelServer, tmp_path: Path) -> None:
    await fetch(MODEL, tmp_path, transfer=transfer(server))
    server.ranges.clear()
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert server.ranges == []


async def test_a_damaged_file_alone_is_fetched_again(server: ModelServer, tmp_path: Path) -> None:
    await fetch(MODEL, tmp_path, transfer=transfer(server))
    (tmp_path / "tiny" / "model.onnx").write_bytes(bytes(len(WEIGHTS)))
    assert is_there(MODEL, tmp_path)
    assert wrong_files(MODEL, tmp_path) == ["model.onnx"]
    server.ranges.clear()
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert len(server.ranges) == 1
    assert holds(tmp_path)


async def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: ModelServer, tmp_path: Path) -> None:
    server.break_after = [10_000, 1_500_000, 1_000_000]
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert holds(tmp_path)
    starts = [int(wanted.strip("bytes=-")) for wanted in server.ranges if wanted]
    assert starts
    assert starts == sorted(starts)


async def test_a_connection_that_stalls_is_made_anew(server: ModelServer, tmp_path: Path) -> None:
    server.stall_after = [10, 2_000_000]
    await fetch(MODEL, tmp_path, transfer=transfer(server, stall_seconds=1.0))

    assert holds(tmp_path)


async def test_a_later_start_goes_on_with_what_an_earlier_one_left(server: ModelServer, tmp_path: Path) -> None:
    left = tmp_path / ".tiny.coming" / "model.onnx.part"
    left.parent.mkdir()
    left.write_bytes(WEIGHTS[:2_500_000])
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert "bytes=2500000-" in server.ranges
    assert holds(tmp_path)


async def test_a_complete_part_is_only_checked(server: ModelServer, tmp_path: Path) -> None:
    left = tmp_path / ".tiny.coming" / "model.onnx.part"
    left.parent.mkdir()
    left.write_bytes(WEIGHTS)
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert holds(tmp_path)


async def test_a_server_that_knows_no_ranges_sends_all_again(server: ModelServer, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.break_after = [len(ABOUT), 1_500_000]
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert holds(tmp_path)


async def test_a_server_in_trouble_is_asked_again(server: ModelServer, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert holds(tmp_path)


@pytest.mark.parametrize("statuses", [[404], [403], [503] * 4])
async def test_a_server_that_does_not_give_it_is_named(
    server: ModelServer, tmp_path: Path, statuses: list[int]
) -> None:
    server.statuses = statuses
    with pytest.raises(ModelNotFetched, match=f"status {statuses[0]}"):
        await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert not (tmp_path / "tiny").exists()


async def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    with pytest.raises(ModelNotFetched, match="allowed to reach it"):
        await fetch(MODEL, tmp_path, transfer=Transfer("http://127.0.0.1:9"))


async def test_another_content_of_the_same_length_is_not_used(server: ModelServer, tmp_path: Path) -> None:
    server.files["/somebody/tiny/resolve/c0ffee/onnx/model.onnx"] = bytes(len(WEIGHTS))
    with pytest.raises(ModelNotFetched, match="another checksum"):
        await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert not (tmp_path / "tiny").exists()
    assert list(tmp_path.rglob("model.onnx*")) == []


@pytest.mark.parametrize("file", ["config.json", "model.onnx"])
async def test_a_file_without_end_is_given_up(server: ModelServer, tmp_path: Path, file: str) -> None:
    server.files[f"/somebody/tiny/resolve/c0ffee/onnx/{file}"] = bytes(20 * 1024**2)
    with pytest.raises(ModelNotFetched, match="larger than it may be"):
        await fetch(MODEL, tmp_path, transfer=transfer(server))


async def test_a_part_of_something_else_does_not_spoil_the_file(server: ModelServer, tmp_path: Path) -> None:
    left = tmp_path / ".tiny.coming" / "model.onnx.part"
    left.parent.mkdir()
    left.write_bytes(bytes(1000))
    await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert holds(tmp_path)


async def test_without_room_nothing_is_begun(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1_000_000))
    with pytest.raises(ModelNotFetched, match="make room"):
        await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert server.ranges == []


async def test_a_disk_that_fills_up_meanwhile_is_left_as_it_was(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: object, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_write", full)
    with pytest.raises(ModelNotFetched, match="is full"):
        await fetch(MODEL, tmp_path, transfer=transfer(server))

    assert not (tmp_path / ".tiny.coming").exists()


def test_every_file_of_the_catalogue_is_pinned() -> None:
    for name, model in CATALOGUE.items():
        assert name == model.name
        assert re.fullmatch("[0-9a-f]{40}", model.commit)
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in model.files)
        assert model.files[-1].size == max(file.size or 0 for file in model.files)
        assert {"config.json", "tokenizer.json"} <= {file.path for file in model.files}
