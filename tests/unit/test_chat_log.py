# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of exchanges: a file a day, others when it is full, old ones gone, several writers."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from context_chat_backend.chat_log import ChatLog, redacted

NOON = datetime(2024, 3, 21, 12, 30, 0, 123456, UTC)


def log(folder: Path, *, max_bytes: int = 10**6, now: datetime = NOON, redact: str = "none") -> ChatLog:
    return ChatLog(folder / "chat", max_bytes=max_bytes, retention_days=14, redact=redact, now=lambda: now)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "chat").glob("chat-*"))


def test_a_line_has_its_time_in_universal_time(tmp_path: Path) -> None:
    log(tmp_path).write({"query": "ü\n"})

    (line,) = (tmp_path / "chat" / "chat-2024-03-21.log").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"timestamp": "2024-03-21T12:30:00.123Z", "query": "ü\n"}


def test_a_full_file_is_followed_by_a_numbered_one(tmp_path: Path) -> None:
    written = log(tmp_path, max_bytes=200)
    for number in range(12):
        written.write({"query": f"{number:03d}" * 10})

    assert names(tmp_path) == sorted(["chat-2024-03-21.log", *(f"chat-2024-03-21.{n}.log" for n in range(1, 6))])
    told = [json.loads(line)["query"][:3] for file in written.files() for line in file.read_text().splitlines()]
    assert told == [f"{number:03d}" for number in range(12)]


def test_a_line_longer_than_a_file_has_a_file_of_its_own(tmp_path: Path) -> None:
    written = log(tmp_path, max_bytes=100)
    for _ in range(2):
        written.write({"query": "x" * 500})

    assert names(tmp_path) == ["chat-2024-03-21.1.log", "chat-2024-03-21.log"]


def test_files_go_after_the_days_they_are_kept(tmp_path: Path) -> None:
    for days in range(20):
        log(tmp_path, now=NOON - timedelta(days=days)).write({"query": "x"})
    (tmp_path / "chat" / "notes.txt").write_text("somebody's")
    log(tmp_path).forget_old()

    assert len(names(tmp_path)) == 15
    assert names(tmp_path)[0] == "chat-2024-03-07.log"
    assert (tmp_path / "chat" / "notes.txt").exists()


def test_lines_are_taken_out_and_the_others_stay_in_their_places(tmp_path: Path) -> None:
    written = log(tmp_path)
    for query in ("first", "second", "third"):
        written.write({"query": query})
    (file,) = written.files()
    before = file.read_bytes()
    assert written.forget(lambda record: record["query"] == "second") == 1

    after = file.read_bytes()
    assert len(after) == len(before)
    assert after.splitlines()[::2] == before.splitlines()[::2]
    assert b"second" not in after
    written.write({"query": "fourth"})
    assert b"fourth" in file.read_bytes()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\r"])
def test_a_line_that_holds_another_separator_of_lines_is_taken_out_whole(tmp_path: Path, separator: str) -> None:
    written = log(tmp_path)
    written.write({"query": f"before{separator}after"})
    assert written.forget(lambda record: True) == 1

    (file,) = written.files()
    assert file.read_bytes().strip() == b""


def test_a_long_word_is_no_address(tmp_path: Path) -> None:
    assert redacted("a" * 200_000, "pii") == "a" * 200_000


def test_several_processes_write_whole_lines_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from context_chat_backend.chat_log import ChatLog\n"
        "log = ChatLog(Path(sys.argv[1]), max_bytes=5000, retention_days=14)\n"
        "for n in range(100): log.write({'query': f'{sys.argv[2]}-{n}' + 'x' * 100})\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "chat"), str(number)]) for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]

    files = log(tmp_path).files()
    told = [json.loads(line)["query"].rstrip("x") for file in files for line in file.read_text().splitlines()]
    assert sorted(told) == sorted(f"{writer}-{n}" for writer in range(3) for n in range(100))
    assert all(file.stat().st_size <= 5000 for file in files)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("write to anna.b@example.org today", "write to [mail] today"),
        ("call +49 30 1234567 or (030) 123-45-67", "call [number] or [number]"),
        ("my account DE89 3704 0044 0532 0130 00 is", "my account [iban] is"),
        ("it costs 48.50 in 2024", "it costs 48.50 in 2024"),
    ],
)
def test_what_names_a_person_is_taken_out(text: str, told: str) -> None:
    assert redacted(text, "pii") == told


def test_all_of_the_text_is_taken_out_where_that_is_wanted(tmp_path: Path) -> None:
    log(tmp_path, redact="all").write({"query": "secret", "response": "answer", "backend": "m"})

    text = (tmp_path / "chat" / "chat-2024-03-21.log").read_text()
    assert "secret" not in text
    assert "answer" not in text
    assert '"backend": "m"' in text
