# SPDX-License-Identifier: AGPL-3.0-or-later
"""The occ lines of `make register` carry what this program is configured with."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from context_chat_backend import __version__

ROOT = Path(__file__).resolve().parents[2]


def register(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": os.environ["PATH"], "APP_PERSISTENT_STORAGE": str(folder / "storage"), "COLUMNS": "200"}
    command = [sys.executable, str(ROOT / "main.py"), "register"]
    return subprocess.run(command, cwd=folder, env=known | environment, capture_output=True, text=True, timeout=60)


def test_version_port_and_secret_are_those_of_the_program_and_a_shell_reads_them_as_they_are(tmp_path: Path) -> None:
    secret = """it's "one" $HOME `id` ü"""
    (tmp_path / ".env").write_text(
        f"APP_PORT=23001\nNEXTCLOUD_URL=https://cloud.example/index.php\nAPP_SECRET={secret}\n"
    )

    printed = register(tmp_path, APP_HOST="10.0.0.7")

    assert printed.returncode == 0, printed.stderr
    daemon, app = (shlex.split(line) for line in printed.stdout.splitlines())
    assert daemon == [
        "occ", "app_api:daemon:register", "--net", "host", "manual_install", "Manual Install", "manual-install", "http",
        "10.0.0.7", "https://cloud.example",
    ]  # fmt: skip
    assert app[:-1] == [
        "occ", "app_api:app:register", "context_chat_backend", "manual_install", "--wait-finish", "--json-info",
    ]  # fmt: skip
    told = json.loads(app[-1])
    routes = told.pop("routes")
    assert told == {
        "id": "context_chat_backend", "name": "Context Chat Backend", "version": __version__, "port": 23001,
        "secret": secret,
    }  # fmt: skip
    assert [(route["url"], route["verb"], route["access_level"]) for route in routes] == [("^/downloadLogs$", "GET", 2)]
    assert not (tmp_path / "storage").exists()


def test_what_is_not_known_is_named_in_brackets(tmp_path: Path) -> None:
    printed = register(tmp_path)

    assert "<URL of Nextcloud>" in printed.stdout
    assert "<APP_SECRET>" in printed.stdout
    assert "APP_SECRET is not set" in printed.stderr
    assert "<host of the backend>" in register(tmp_path, APP_HOST="0.0.0.0", APP_SECRET="s").stdout
