# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page says a test shows, a test of that name is there for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("SECURITY.md", "docs/privacy.md", "docs/acceptance.md", "docs/reliability.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def named_on(page: str) -> list[tuple[str, str]]:
    return NAMED.findall((ROOT / page).read_text(encoding="utf-8"))


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_a_page_names_is_there(page: str) -> None:
    named = named_on(page)
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file() or (test and test not in functions_of(ROOT / file))
    ]
    assert named
    assert missing == []


def test_every_threat_names_who_stops_it_and_a_test() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = text.split("## Threats")[1].split("###")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 12
    for who, wants, _, stopped, shown in rows:
        assert who.strip()
        assert wants.strip()
        assert stopped.strip(), wants
        assert NAMED.search(shown), wants


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = text.split("## Promises")[1].split("##")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 9
    assert [promise for promise, shown in rows if not NAMED.search(shown)] == []


def test_the_command_of_the_page_on_privacy_is_one() -> None:
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    commands = (ROOT / "context_chat_backend" / "cli" / "app.py").read_text(encoding="utf-8")

    assert "context-chat kept --user" in page
    assert "app.command()(kept)" in commands
