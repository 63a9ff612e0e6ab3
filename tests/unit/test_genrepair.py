# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from context_chat_backend import upgrade
from context_chat_backend.store import history

ROOT = Path(__file__).resolve().parents[2]


def generate(folder: Path, version: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "genrepair.sh", folder)
    (folder / "repairs").mkdir(exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin"} | ({} if version is None else {"APP_VERSION": version})
    return subprocess.run(
        ["sh", "genrepair.sh", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_template_is_a_step_the_upgrade_knows(tmp_path: Path) -> None:
    made = generate(tmp_path, "5.12.0")

    assert made.returncode == 0
    (step,) = (tmp_path / "repairs").iterdir()
    assert re.fullmatch(r"repair5012_date\d{14}\.py", step.name)
    assert upgrade._release(step) == (5, 12)
    with pytest.raises(NotImplementedError):
        upgrade._load(step).run("5.11.0", tmp_path)


def test_the_version_may_be_an_argument(tmp_path: Path) -> None:
    assert generate(tmp_path, None, "6.0.0").returncode == 0
    assert [step.name[:10] for step in (tmp_path / "repairs").iterdir()] == ["repair6000"]


@pytest.mark.parametrize("version", [None, "", "5.4.1", "5.4", "five", "5.4.0.0", "5..0", "5.4.0-beta1"])
def test_anything_but_a_minor_version_is_refused(tmp_path: Path, version: str | None) -> None:
    made = generate(tmp_path, version)

    assert made.returncode == 2
    assert made.stderr
    assert list((tmp_path / "repairs").iterdir()) == []


def test_a_step_for_the_database_is_sql_the_history_knows(tmp_path: Path) -> None:
    assert generate(tmp_path, None, "5.12.0", "sql").returncode == 0

    (step,) = history.steps(tmp_path / "repairs")
    assert re.fullmatch(r"repair5012_date\d{14}\.sql", step.name)
    assert upgrade.run(tmp_path / "storage", tmp_path / "repairs", "5.12.0") == []
    assert generate(tmp_path, None, "5.12.0", "txt").returncode == 2
