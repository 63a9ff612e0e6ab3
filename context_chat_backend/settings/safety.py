# SPDX-License-Identifier: AGPL-3.0-or-later
"""`safety` of `config.yaml`: who judges questions and answers, how strictly, and what is said instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import one_of, section, typed, url, whole

JUDGES = ("words", "rules", "llm", "remote")
MODES = ("strict", "fuzzy", "disabled")
_TYPES: Mapping[str, type] = {
    "enabled": bool, "mode": str, "judge": str, "answers": bool, "base_url": str, "model": str, "api_key": str,
    "retry_delay": float, "request_timeout": float, "allow_on_timeout": bool, "refusal_message": str,
    "prompt_file": str, "ollama_url": str,
}  # fmt: skip
_KEYS = (*_TYPES, "words", "max_retries")


@dataclass(frozen=True)
class SafetySettings:
    """Who judges; nobody where `judge` is empty."""

    judge: str = ""
    strict: bool = True
    """Whether a model has to answer in the very words it was told."""
    answers: bool = False
    """Whether answers are judged as well; they are then shown as a whole."""
    words: tuple[str, ...] = ()
    base_url: str = ""
    model: str = ""
    api_key: str | None = field(default=None, repr=False)
    max_retries: int = 3
    retry_delay: float = 1.0
    """Seconds."""
    request_timeout: float = 15.0
    """Seconds."""
    allow_on_timeout: bool = False
    prompt_file: str = ""
    """What a judging model is told; empty: ours."""
    ollama_url: str = ""
    """Where the judging model runs, where it is none that answers."""
    refusal_message: str = ""
    """Empty: ours, in the language of the question."""


def read_safety(given: Any, warn: Callable[[str], None]) -> SafetySettings:
    """The section; nobody judges where it is missing. Raises ConfigurationError."""
    if given is None:
        return SafetySettings()
    given = section("safety", given, _KEYS)
    told = {key: typed(f"safety.{key}", given[key], kind) for key, kind in _TYPES.items() if given.get(key) is not None}
    mode = told.pop("mode", "strict").lower()
    if mode not in MODES:
        warn(f"safety.mode: expected one of {', '.join(MODES)}; 'strict' is used")
    if told.pop("enabled", True) is False or mode == "disabled":
        warn("safety is switched off: neither questions nor answers are judged")
        return SafetySettings()
    judge = one_of("safety.judge", told.pop("judge", "llm"), JUDGES)
    settings = SafetySettings(
        judge=judge,
        strict=mode != "fuzzy",
        words=_words(given),
        max_retries=whole("safety.max_retries", given.get("max_retries", SafetySettings.max_retries), 0, 10),
        **told,
    )
    _check(settings)
    return settings


def _check(settings: SafetySettings) -> None:
    judge = settings.judge
    if judge == "words" and not settings.words:
        raise ConfigurationError("safety.words: it is missing; list words or phrases that are refused, for example [x]")
    if judge == "remote":  # what stands before /moderations
        url("safety.base_url", settings.base_url, "http://localhost:8080/v1")
    for key in ("retry_delay", "request_timeout"):
        if getattr(settings, key) < 0 or (key == "request_timeout" and settings.request_timeout == 0):
            raise ConfigurationError(f"safety.{key}: expected a number of seconds above 0")


def _words(given: Mapping[str, Any]) -> tuple[str, ...]:
    words = given.get("words") or []
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ConfigurationError("safety.words: expected a list of words or phrases, in quotes where they are numbers")
    return tuple(words)
