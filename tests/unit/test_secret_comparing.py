# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets are compared in constant time: how long that takes tells nobody how much of a guess was right."""

from __future__ import annotations

import ast
import hmac
import re
from pathlib import Path

import pytest

from context_chat_backend.config import AppSettings, Secret
from context_chat_backend.exapp.authentication import acting_user
from tests.program import headers

PACKAGE = Path(__file__).resolve().parents[2] / "context_chat_backend"
SECRET_NAMES = re.compile(
    r"secret|passw|(?<!prompt_)(?<!first_)token$|api_key$|digest|expected|signature", re.IGNORECASE
)
ALLOWED = {
    "config.py": {"secret == '12345'"},  # a warning about the secret of the examples, at the start
}


def named(node: ast.expr) -> str:
    """How an expression is called: its last name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return named(function)
        case ast.Subscript(value=value):
            return named(value)
        case _:
            return ""


def compared(text: str) -> list[str]:
    """Comparisons by == or `in` with something that is called a secret, but for those with a constant that is empty."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        if not any(isinstance(one, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for one in node.ops):
            continue
        if any(isinstance(side, ast.Constant) and not side.value for side in sides):
            continue
        if any(named(side) == "reveal" or SECRET_NAMES.search(named(side)) for side in sides):
            found.append(ast.unparse(node))
    return found


ROOMS = ("exapp", "web", "cli/keys.py", "store/keys.py", "web_tokens.py", "config.py")
"""Where there are secrets of callers."""


@pytest.mark.parametrize("room", ROOMS)
def test_no_secret_of_a_caller_is_compared_with_an_operator(room: str) -> None:
    files = [PACKAGE / room] if room.endswith(".py") else sorted((PACKAGE / room).glob("*.py"))
    assert files
    for file in files:
        assert set(compared(file.read_text(encoding="utf-8"))) <= ALLOWED.get(file.name, set()), file


@pytest.mark.parametrize("line", ["secret == given", "app.secret.reveal() != x", "x in expected", "token == 'abc'"])
def test_such_a_comparison_is_seen(line: str) -> None:
    assert compared(line) == [line]


@pytest.mark.parametrize("guess", ["", "s", "secre", "secret", "secrets", "another secret that is much longer", "ü"])
def test_every_guess_is_compared_as_a_whole(monkeypatch: pytest.MonkeyPatch, guess: str) -> None:
    """Whatever its length and its first letters: by the function that takes the same time for all."""
    seen: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compared_digests(a: bytes, b: bytes) -> bool:
        seen.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compared_digests)
    sent = {name.lower(): value for name, value in headers(guess, "alice").items()}

    assert (acting_user(sent, AppSettings(secret=Secret("secret"))) == "alice") is (guess == "secret")
    assert seen == [(guess.encode(), b"secret")]
