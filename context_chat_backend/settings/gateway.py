# SPDX-License-Identifier: AGPL-3.0-or-later
"""`models`, `roles` and `gateway` of `config.yaml`: the models requests are passed on to, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import one_of, section, typed, unknown, url
from context_chat_backend.settings.models import ModelChoice

PROVIDERS = ("refact", "llama_cpp", "openai", "ollama", "extractive")
FAMILIES = ("refact", "starcoder", "qwen2.5-coder", "codellama", "deepseek-coder", "instruct")
"""Those of completing/fim_templates.yaml."""
ROLES = ("completion", "chat", "embedding")
_OPENAI = ("refact", "llama_cpp", "openai")
_MODEL: Mapping[str, type] = {
    "provider": str, "base_url": str, "api_key": str, "model": str, "fim": str, "n_ctx": int, "max_tokens": int,
    "tokenizer": str,
}  # fmt: skip
_REFACT_URL = "http://refact_server_container:8008"
_REFACT_MODEL = "Refact/1.6B"
_PAUSE_SECONDS = 15.0
"""So long a server is left alone that failed five times in a row."""
_TIMEOUTS = ("connect", "first", "idle", "total")


@dataclass(frozen=True)
class NamedModel:
    """One model below `models`."""

    name: str
    choice: ModelChoice
    fim: str = ""
    """The family of its prompts; empty: by its name."""
    context_tokens: int = 4096
    answer_tokens: int = 1024
    tokenizer: str | None = None
    """A file with its tokenizer, in the form of Hugging Face."""


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway passes on, and how."""

    models: tuple[NamedModel, ...] = ()
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The models of each role, the default first."""
    max_prompt_chars: int = 100_000
    max_parallel: int = 64
    retrieval: bool = True
    """Whether passages may be asked for."""

    @property
    def of_chat(self) -> tuple[ModelChoice, ...]:
        """The models `roles.chat` names, in their order."""
        by_name = {one.name: one.choice for one in self.models}
        return tuple(by_name[name] for name in self.roles.get("chat", ()))


def read_gateway(
    models: Any, roles: Any, gateway: Any, environment: Mapping[str, str], warn: Callable[[str], None]
) -> GatewaySettings:
    """What stands at `models`, `roles` and `gateway`, and in REFACT_SERVER_URL. Raises ConfigurationError."""
    options = section("gateway", gateway, ("max_prompt_chars", "max_parallel", "retrieval", "timeouts"))
    patience = _patience(options.get("timeouts"))
    listed = section("models", models)
    if not listed and environment.get("REFACT_SERVER_URL"):
        listed = {_REFACT_MODEL: {"provider": "refact"}}
    named = tuple(_model(str(name), told, environment, patience) for name, told in listed.items())
    retrieval = section("gateway.retrieval", options.get("retrieval"), ("enabled",))
    numbers = {
        key: typed(f"gateway.{key}", options[key], int)
        for key in ("max_prompt_chars", "max_parallel")
        if key in options
    }
    return GatewaySettings(
        named,
        _roles(roles, {one.name for one in named}, warn),
        retrieval=typed("gateway.retrieval.enabled", retrieval.get("enabled", True), bool),
        **numbers,
    )


def _model(name: str, told: Any, environment: Mapping[str, str], patience: Mapping[str, float]) -> NamedModel:
    path = f"models.{name}"
    given = {
        key: typed(f"{path}.{key}", value, _MODEL[key])
        for key, value in section(path, told, tuple(_MODEL)).items()
        if value is not None
    }
    provider = one_of(f"{path}.provider", given.get("provider"), PROVIDERS)
    one_of(f"{path}.fim", given.get("fim", "instruct"), FAMILIES)
    context, answer = given.get("n_ctx", 4096), given.get("max_tokens", 1024)
    of_server: dict[str, Any] = {"name": name, "model": given.get("model", name)}
    if provider == "refact":
        of_server["base_url"] = environment.get("REFACT_SERVER_URL") or _REFACT_URL
        of_server["api_key"] = environment.get("REFACT_API_KEY") or None
    of_server |= {key: given[key] for key in ("base_url", "api_key") if key in given}
    if provider in _OPENAI:
        told_by = "REFACT_SERVER_URL" if provider == "refact" and "base_url" not in given else f"{path}.base_url"
        of_server["base_url"] = url(told_by, of_server.get("base_url")).rstrip("/").removesuffix("/v1") + "/v1"
        choice = ModelChoice("openai", {**of_server, **patience, "context_tokens": context, "max_tokens": answer})
    elif provider == "ollama":
        choice = ModelChoice("ollama", {**of_server, **patience, "num_ctx": context, "num_predict": answer})
    else:
        choice = ModelChoice("extractive")
    return NamedModel(name, choice, given.get("fim", ""), context, answer, given.get("tokenizer"))


def _patience(given: Any) -> dict[str, float]:
    """How long servers are waited for, as options of a model."""
    told = section("gateway.timeouts", given, _TIMEOUTS)
    usual = {"connect": 5.0, "first": 60.0, "idle": 30.0, "total": 600.0}
    seconds = usual | {key: typed(f"gateway.timeouts.{key}", value, float) for key, value in told.items()}
    for key, value in seconds.items():
        if value <= 0:
            raise ConfigurationError(f"gateway.timeouts.{key}: expected a number of seconds above 0")
    names = {"connect": "connect_timeout", "first": "first_timeout", "idle": "idle_timeout", "total": "timeout"}
    return {names[key]: value for key, value in seconds.items()} | {"pause": _PAUSE_SECONDS}


def _roles(given: Any, known: set[str], warn: Callable[[str], None]) -> dict[str, tuple[str, ...]]:
    told = section("roles", given, ROLES)
    if told.pop("embedding", None) is not None:
        warn("roles.embedding has no effect here: the model of `embedding` gives all vectors")
    roles = {}
    for role, names in told.items():
        listed = tuple(names) if isinstance(names, list) else (names,)
        for name in listed:
            if name not in known:
                raise ConfigurationError(unknown(f"roles.{role}: {name}", str(name), sorted(known)))
        roles[role] = listed
    return roles
