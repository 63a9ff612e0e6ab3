# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from context_chat_backend import logs
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


def test_chatter_of_libraries_is_left_out_and_their_warnings_are_not(tmp_path: Path) -> None:
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
