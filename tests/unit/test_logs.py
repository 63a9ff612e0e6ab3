# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog

from context_chat_backend import logs, metrics, rotation
from context_chat_backend.config import AppSettings, Secret


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    yield
    for handler in logging.getLogger().handlers:
        handler.close()
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def written(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "ccb.log").read_text(encoding="utf-8").splitlines()]


def test_an_event_is_one_line_of_json(tmp_path: Path) -> None:
    logs.configure("info", tmp_path)
    logs.get_logger("room").info("source_indexed", source_id=7)

    (line,) = written(tmp_path)
    assert (line["event"], line["source_id"], line["level"], line["logger"]) == ("source_indexed", 7, "info", "room")
    assert "timestamp" in line


def test_the_level_decides(tmp_path: Path) -> None:
    logs.configure("warning", tmp_path)
    logs.get_logger("room").info("quiet")
    logs.get_logger("room").warning("loud")

    assert [line["event"] for line in written(tmp_path)] == ["loud"]


@pytest.mark.parametrize("logger", [logging.getLogger("some.library"), structlog.stdlib.get_logger("room")])
def test_exceptions_are_named_and_not_quoted(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", tmp_path)
    try:
        raise ValueError("what a user wrote")
    except ValueError as error:
        logger.exception("failed")
        logger.error("failed", exc_info=error)

    assert [line["error"] for line in written(tmp_path)] == ["ValueError", "ValueError"]
    assert "what a user wrote" not in (tmp_path / "ccb.log").read_text(encoding="utf-8") + capsys.readouterr().err


def test_secrets_are_masked(tmp_path: Path) -> None:
    logs.configure("info", tmp_path)
    logs.get_logger("room").info(
        "connected", url=Secret("postgresql://u:hush@h/d"), app=AppSettings(secret=Secret("hush"))
    )

    (line,) = written(tmp_path)
    assert line["url"] == "***"
    assert "hush" not in str(line)


def test_chatter_of_libraries_is_left_out_and_their_warnings_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that writes no access log, made by a test before this one, takes its logger from all handlers.
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)
    logs.configure("info", tmp_path)
    for name in ("uvicorn.access", "httpx"):
        logging.getLogger(name).info("GET /search?q=what+a+user+wrote")
        logging.getLogger(name).warning("trouble")

    assert [(line["logger"], line["event"]) for line in written(tmp_path)] == [
        ("uvicorn.access", "trouble"),
        ("httpx", "trouble"),
    ]


def test_commands_that_print_show_warnings_only_and_the_file_has_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", tmp_path, quiet=True)
    logs.get_logger("room").info("began")
    logs.get_logger("room").warning("odd")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["odd"]
    assert [line["event"] for line in written(tmp_path)] == ["began", "odd"]


def test_a_secret_is_masked_in_whatever_form_a_library_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "s€cret/of the server"
    logs.configure("info", tmp_path, secrets=[secret, "short"])
    logging.getLogger("some.library").warning("GET http://me:%s@host/ %s", quote(secret, ""), secret)
    logs.get_logger("room").info("short_events", url=f"postgresql://u:{secret}@h", nested={"key": [secret]})

    text = (tmp_path / "ccb.log").read_text(encoding="utf-8") + capsys.readouterr().err
    for form in (secret, quote(secret, ""), json.dumps(secret)[1:-1]):
        assert form not in text
    assert [line["event"] for line in written(tmp_path)] == ["GET http://me:***@host/ ***", "short_events"]


def test_a_full_file_is_renamed_and_ten_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "FILE_BYTES", 300)
    logs.configure("info", tmp_path)
    for n in range(60):
        logs.get_logger("room").info("event", number=n)

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"ccb.log", *(f"ccb.log.{n}" for n in range(1, 10))}
    assert all(path.stat().st_size < 300 + 200 for path in tmp_path.iterdir())
    assert written(tmp_path)[-1]["number"] == 59


def test_processes_that_share_a_file_rotate_it_once_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two handlers stand for two processes: each has its own open file."""
    monkeypatch.setattr(rotation, "FILE_BYTES", 200)
    both = [rotation.SharedFile(tmp_path / "ccb.log") for _ in range(2)]
    for n in range(50):
        line = json.dumps({"number": n})
        both[n % 2].handle(logging.LogRecord("x", logging.INFO, "", 0, line, None, None))
    for handler in both:
        handler.close()

    files = sorted(tmp_path.iterdir(), key=lambda path: int(path.suffix[1:]) if path.suffix != ".log" else 0)
    numbers = [json.loads(line)["number"] for path in reversed(files) for line in path.read_text().splitlines()]
    assert numbers == list(range(50))
    assert len(files) == 4


def test_warnings_and_errors_are_counted(tmp_path: Path) -> None:
    def count(level: str) -> float:
        return metrics.REGISTRY.get_sample_value("context_chat_log_lines_total", {"level": level}) or 0.0

    before = count("warning"), count("error")
    logs.configure("error", tmp_path)
    logs.get_logger("room").warning("left out")
    logs.get_logger("room").error("told")

    assert (count("warning"), count("error")) == (before[0], before[1] + 1)


def test_a_folder_that_is_gone_stops_nothing_and_is_written_again_when_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    logs.configure("info", folder)
    logs.get_logger("room").info("before")
    shutil.rmtree(folder)
    logs.get_logger("room").warning("lost")
    assert "ccb.log cannot be written (FileNotFoundError)" in capsys.readouterr().err
    folder.mkdir()
    logs.get_logger("room").info("after")

    assert [line["event"] for line in written(folder)] == ["after"]


def test_lines_that_find_no_room_in_the_file_nor_on_standard_error_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ccb.log").symlink_to("/dev/full")
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    monkeypatch.setattr("sys.stderr", full)
    logs.configure("info", tmp_path)

    logs.get_logger("room").info("lost")
    logs.get_logger("room").info("lost too")
    (tmp_path / "ccb.log").unlink()
    logs.get_logger("room").info("there is room again")

    assert [line["event"] for line in written(tmp_path)] == ["there is room again"]
    full.close()
