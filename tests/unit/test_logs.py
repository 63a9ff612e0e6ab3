# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from context_chat_backend import logs


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


def test_exceptions_of_libraries_are_named_and_not_quoted(tmp_path: Path) -> None:
    logs.configure("info", tmp_path)
    try:
        raise ValueError("what a user wrote")
    except ValueError:
        logging.getLogger("some.library").exception("failed")

    (line,) = written(tmp_path)
    assert line["error"] == "ValueError"
    assert "what a user wrote" not in (tmp_path / "ccb.log").read_text(encoding="utf-8")
