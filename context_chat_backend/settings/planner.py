# SPDX-License-Identifier: AGPL-3.0-or-later
"""`planner` of `config.yaml`, and the environment variables that say the same: how deployments are planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import one_of, section, shown, whole
from context_chat_backend.settings.listeners import Listener
from context_chat_backend.settings.programs import ProgramSettings

EXTRACTORS = ("auto", "rules", "model")
_WHERE_ELSE: Mapping[str, tuple[str, ...]] = {
    "COMPUTE_TOP_K": ("top_k", "compute"),
    "K8S_TOP_K": ("top_k", "k8s"),
    "HF_TOP_K": ("top_k", "hf"),
    "HF_EMBEDDING_MODEL_NAME": ("hf", "embedding_model"),
    "HF_CHUNKER_VERSION": ("hf", "chunker_version"),
}
"""Environment variables, and where they belong in the section."""


_BESIDE_THE_MODEL = 60
"""Seconds that are more than anything else in a message takes."""


@dataclass(frozen=True)
class Sizing:
    """How much GPU memory a workload takes: GB, or factors by which billions of parameters are multiplied."""

    inference_fp16: float = 2 * 1.2
    inference_int8: float = 1 * 1.2
    inference_int4: float = 0.5 * 1.2
    training: float = 16 * 1.1
    lora: float = 2 * 1.3
    qlora: float = 0.5 * 1.6
    sdxl: float = 16.0
    diffusion: float = 12.0
    vision_training: float = 24.0
    speech: float = 10.0
    embedding: float = 4.0


@dataclass(frozen=True)
class PlannerSettings:
    """How deployments are planned."""

    extractor: str = "auto"
    """Who reads requests: rules, with the language model where there is one; the rules alone; or the model alone."""
    max_clarifications: int = 2
    compute_top_k: int = 10
    k8s_top_k: int = 15
    hf_top_k: int = 5
    embedding_model: str | None = None
    """By whose vectors models are searched; None: the model that embeds documents."""
    chunker_version: str = "hf_chunker_v1"
    messages_per_minute: int = 30
    tools_per_minute: int = 100
    model_seconds: int = 20
    """So long the language model may take over one message, all its answers together."""
    wait_seconds: int = 60
    """So long a message waits for the one before it in its conversation."""
    sizing: Sizing = field(default_factory=Sizing)

    @property
    def turn_seconds(self) -> int:
        """So long one message may be answered: longer than anything in it takes, so that nobody takes its turn."""
        return self.model_seconds + _BESIDE_THE_MODEL


_TOP_KS = {"compute": 100, "k8s": 50, "hf": 25}
_COUNTS = ("max_clarifications", "messages_per_minute", "tools_per_minute", "model_seconds", "wait_seconds")
_BELOW: Mapping[str, tuple[str, ...]] = {
    "top_k": tuple(_TOP_KS),
    "hf": ("embedding_model", "chunker_version"),
    "sizing": tuple(one.name for one in fields(Sizing)),
}
"""Sections within the section, and their keys."""


def read_planner(given: Any, environment: Mapping[str, str]) -> PlannerSettings:
    """What stands at `planner`; the environment wins. Raises ConfigurationError with the key and the cure."""
    given = section("planner", given, ("extractor", *_BELOW, *_COUNTS))
    sections = {name: section(f"planner.{name}", given.get(name), known) for name, known in _BELOW.items()}
    said_by: dict[str, str] = {}
    for variable, (name, key) in _WHERE_ELSE.items():
        if named := environment.get(variable):
            said_by[key] = variable
            sections[name][key] = int(named) if name == "top_k" and named.isdecimal() else named
    told: dict[str, Any] = {"extractor": one_of("planner.extractor", given.get("extractor", "auto"), EXTRACTORS)}
    for key in _COUNTS:
        if key in given:
            told[key] = whole(f"planner.{key}", given[key], 0 if key == "max_clarifications" else 1, 10**6)
    for key, value in sections["top_k"].items():
        told[f"{key}_top_k"] = whole(said_by.get(key, f"planner.top_k.{key}"), value, 1, _TOP_KS[key])
    for key, value in sections["hf"].items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(f"{said_by.get(key, f'planner.hf.{key}')}: expected a text")
        told[key] = value.strip()
    return PlannerSettings(**told, sizing=_sizing(sections["sizing"]))


def check_surface(listeners: Iterable[Listener], programs: ProgramSettings) -> None:
    """Raises ConfigurationError where plans would be served in production and nobody could say who he is."""
    is_served = any("planner" in listener.surfaces for listener in listeners)
    if is_served and programs.environment == "production" and not programs.issuers:
        raise ConfigurationError(
            "listeners: the surface 'planner' has to know its users: set SUPABASE_JWT_SECRET, or an issuer below jwt; "
            "environment: development does without"
        )


def _sizing(given: Mapping[str, Any]) -> Sizing:
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10**6:
            raise ConfigurationError(f"planner.sizing.{key}: expected a number above 0, found {shown(value)}")
    return Sizing(**{key: float(value) for key, value in given.items()})
