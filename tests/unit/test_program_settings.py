# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `environment`, `jwt` and `chatqna` of config.yaml may say."""

from __future__ import annotations

from typing import Any

import pytest

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.programs import ChatQnaSettings, Issuer, ProgramSettings, read_program_settings

GOOD = {"issuer": "https://id.example", "audience": "us", "secret": "s" * 32}


def test_nothing_said_is_production_without_users() -> None:
    assert read_program_settings(None, None, None) == ProgramSettings("production", (), ChatQnaSettings())


def test_an_issuer_is_read_and_its_secret_is_not_printed() -> None:
    (issuer,) = read_program_settings("development", GOOD, {"strict_grounding": True}).issuers

    assert issuer == Issuer("https://id.example", "us", secret="s" * 32)
    assert "sss" not in repr(issuer)


WRONG: dict[str, tuple[Any, Any, Any, str]] = {
    "environment": ("test", None, None, "environment: expected one of"),
    "no issuer": (None, ["x"], None, r"jwt\[0\]: expected issuer"),
    "no audience": (None, {"issuer": "x", "secret": "s" * 32}, None, r"jwt\[0\].audience: it is missing"),
    "no key": (
        None,
        {"issuer": "x", "audience": "us"},
        None,
        "expected one of secret, public_key_file, jwks_file, jwks_url",
    ),
    "two keys": (None, GOOD | {"jwks_url": "https://x"}, None, "expected one of secret"),
    "a short secret": (None, GOOD | {"secret": "short"}, None, "at least 32 bytes"),
    "a number": (None, GOOD | {"audience": 7}, None, r"jwt\[0\].audience: expected a text"),
    "other users": (None, GOOD | {"users": "all"}, None, "users: expected one of own, local, nextcloud"),
    "an address": (
        None,
        {"issuer": "x", "audience": "us", "jwks_url": "file:///x"},
        None,
        "jwks_url: expected a URL",
    ),
    "a typing mistake": (None, GOOD | {"isuser": "x"}, None, "did you mean 'issuer'"),
    "twice": (None, [GOOD, GOOD], None, "stands there twice"),
    "ChatQnA": (None, None, "x", "chatqna: expected options"),
    "ChatQnA's switch": (None, None, {"allow_anonymous": "yes"}, "chatqna.allow_anonymous: expected true or false"),
    "ChatQnA's number": (None, None, {"requests_per_minute": 0}, "chatqna.requests_per_minute: expected a whole"),
    "ChatQnA's names": (None, None, {"strict": True}, "unknown key 'chatqna.strict'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_stops_the_start_with_the_key_and_the_cure(wrong: str) -> None:
    environment, jwt, chatqna, said = WRONG[wrong]
    with pytest.raises(ConfigurationError, match=said) as stopped:
        read_program_settings(environment, jwt, chatqna)
    assert "s" * 32 not in str(stopped.value)
