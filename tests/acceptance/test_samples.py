# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `make run` does, and the command line beside it: the real program over the shipped samples."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import commands
from tests.ports import free_port
from tests.program import ROOT


class Shell:
    """Runs commands of the program on one storage."""

    def __init__(self, storage: Path) -> None:
        self.port = free_port()
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "APP_PORT": str(self.port),
            "APP_PERSISTENT_STORAGE": str(storage), "CC_DOWNLOAD_MODELS_FROM_HF": "false",
        }  # fmt: skip

    def demo(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "main.py", "demo"], cwd=ROOT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return commands.run(*arguments, environment=self.environment | environment)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it prints up to the line with these words."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if words in line:
            return printed
    raise AssertionError(printed)


@pytest.fixture(scope="module")
def shell(module_storage: Path) -> Shell:
    made = Shell(module_storage)
    first = made.demo()
    printed = read_until(first, "Serving on")
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 0
    for name in ("alice", "bob"):
        assert f"{name}: What is the budget for the roof repair?" in printed
    assert "84,500 euros" in printed
    assert "treasurer-report.docx, Roof repair" in printed
    assert "70,000 euros" in printed
    assert "works-diary.odt, Roof repair" in printed
    assert "rejected 0" in printed
    return made


@pytest.fixture
def again(shell: Shell) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = shell.demo()
    yield process, read_until(process, "Serving on")
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_a_second_run_indexes_nothing_twice_and_serves(shell: Shell, again: tuple[subprocess.Popen[str], str]) -> None:
    _, printed = again

    assert printed.count("indexed 0,") == 3
    assert "84,500 euros" in printed
    assert httpx.get(f"http://127.0.0.1:{shell.port}/heartbeat").json() == {"status": "ok"}


def test_commands_join_a_program_that_runs(shell: Shell, again: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = again

    assert "18 April 2026" in shell.run("ask", "--user", "alice", "When is the annual meeting?").stdout
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert shell.run("status").returncode == 0  # the database was stopped, and starts again


def test_the_database_stops_with_the_last_command(shell: Shell, module_storage: Path) -> None:
    assert shell.run("status").returncode == 0
    assert not (module_storage / "postgres18" / "postmaster.pid").exists()


def test_answers_and_searches_keep_to_the_rights_of_the_user(shell: Shell) -> None:
    premium = "What is the yearly premium of the building insurance?"

    asked = shell.run("ask", "--user", "alice", "--json", premium)
    assert asked.returncode == 0
    answer = json.loads(asked.stdout)
    assert "6,418 euros" in answer["answer"]
    assert answer["citations"][0]["place"] == "alice/insurance.eml"
    assert "6,418" not in shell.run("ask", "--user", "bob", premium).stdout
    nobody = shell.run("ask", "--user", "mallory", premium)
    assert nobody.returncode == 1
    assert "nothing" in nobody.stdout

    titles = [row["title"] for row in json.loads(shell.run("search", "-u", "bob", "--json", premium).stdout)]
    assert titles
    assert not [title for title in titles if title.startswith("alice/")]


def test_files_are_indexed_for_the_readers_given(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "kite.md").write_text("# Kites\nThe red kite has a span of three metres.\n")
    (tmp_path / "song.mp3").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00")
    (tmp_path / ".hidden").write_text("not to be indexed")

    indexed = shell.run("index", str(tmp_path), "--user", "dora", "--reader", "emil", "--json")

    assert indexed.returncode == 1  # something was rejected
    assert json.loads(indexed.stdout) == {"admitted": 1, "unchanged": 0, "rejected": 1}
    for name in ("dora", "emil"):
        assert "three metres" in shell.run("ask", "-u", name, "How wide is the span of the red kite?").stdout
    state = json.loads(shell.run("status", "--json").stdout)
    assert [(row["title"], row["reason"]) for row in state["rejected"]] == [
        (f"{tmp_path.name}/song.mp3", "unsupported format")
    ]
    assert shell.run("index", str(tmp_path / "kite.md"), "-u", "dora").returncode == 0


def test_doctor_finds_everything_well(shell: Shell) -> None:
    examined = shell.run("doctor", "--json")

    assert examined.returncode == 0
    findings = {finding["what"]: finding for finding in json.loads(examined.stdout)}
    looked_at = {
        "configuration",
        "database",
        "row security",
        "search indexes",
        "embedding",
        "disk",
        "Nextcloud",
        "index",
    }
    assert looked_at <= set(findings)
    assert "pgvector 0.8" in findings["database"]["said"]
    assert all(finding["well"] for finding in findings.values())


def test_doctor_says_what_is_wrong(shell: Shell) -> None:
    examined = shell.run("doctor", NEXTCLOUD_URL="http://127.0.0.1:9")

    assert examined.returncode == 1
    assert "check NEXTCLOUD_URL" in " ".join(examined.stdout.split())


def test_indexes_are_dropped_before_a_bulk_load_and_built_after_it(shell: Shell) -> None:
    assert shell.run("indexes", "drop").returncode == 0
    findings = {finding["what"]: finding for finding in json.loads(shell.run("doctor", "--json").stdout)}
    assert not findings["search indexes"]["well"]
    assert "run 'context-chat indexes build'" in findings["search indexes"]["said"]
    assert "Nothing is missing" not in shell.run("indexes", "build").stdout
    assert "Nothing is missing" in shell.run("indexes", "build").stdout
    assert shell.run("doctor").returncode == 0
    assert "words_by_key" in shell.run("indexes", "build", "--anew").stdout


def test_repair_runs_the_steps_and_stops(shell: Shell) -> None:
    assert shell.run("repair").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (("status",), {"APP_PORT": "many"}, 3, "APP_PORT: expected a port"),
        (("status",), {"CCB_DB_URL": "mysql://x"}, 3, "CCB_DB_URL"),
        (("status",), {"CCB_DB_URL": "postgresql://u:p4ssword@127.0.0.1:9/d"}, 4, "the database does not answer"),
        (("status",), {"APP_PERSISTENT_STORAGE": "/proc/no"}, 3, "APP_PERSISTENT_STORAGE"),
        (("ask", "--user", "alice", "  "), {}, 2, "blank"),
        (("ask", "--user", " ", "what"), {}, 2, "--user"),
        (("ask", "what"), {}, 2, "--user"),
        (("index", "/no/such/file", "-u", "alice"), {}, 2, "does not exist"),
        (("sing",), {}, 2, "sing"),
    ],
)
def test_what_is_wrong_is_said_with_an_exit_code(
    shell: Shell, arguments: tuple[str, ...], environment: dict[str, str], code: int, said: str
) -> None:
    ran = shell.run(*arguments, **environment)

    assert ran.returncode == code, ran.stderr
    assert said in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr
    assert "p4ssword" not in ran.stderr


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", shell.port))
        taken.listen()
        started = shell.run("serve")

    assert started.returncode == 3
    assert f"port {shell.port} is taken" in started.stderr


def test_a_killed_program_starts_again_on_the_same_data(shell: Shell) -> None:
    process = shell.demo()
    read_until(process, "Serving on")
    process.kill()
    process.wait()

    started = time.monotonic()
    found = shell.run("ask", "-u", "bob", "--json", "What is the budget for the roof repair?")
    assert "70,000 euros" in found.stdout, (found.stderr, time.monotonic() - started)
