# SPDX-License-Identifier: AGPL-3.0-or-later
"""The keys of `config.yaml`: which there are, of which type, and what becomes of those of the reference (ruling 23).

An unknown key stops the start with the nearest name, an ill-typed value with the type and the key. A key of the
reference that has no effect here only warns, and so does a model we do not have as long as another can take its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.exclusions import Exclusions, read_exclusions
from context_chat_backend.limits import Limits
from context_chat_backend.settings.chat import SECTIONS, ChatSettings, read_chat
from context_chat_backend.settings.checks import one_of, shown, unknown, url, whole
from context_chat_backend.settings.gateway import GatewaySettings, read_gateway
from context_chat_backend.settings.limits import read_limits
from context_chat_backend.settings.listeners import ChatPorts, Listener, read_general, read_listeners
from context_chat_backend.settings.models import MODELS, ModelChoice, models_of, read_choice, read_remote
from context_chat_backend.settings.planner import PlannerSettings, read_planner
from context_chat_backend.settings.programs import ENVIRONMENTS, ProgramSettings, read_program_settings, supabase_issuer
from context_chat_backend.settings.safety import SafetySettings, read_safety

WITHOUT_EFFECT: Mapping[str, str] = {
    "uvicorn_log_level": "log_level decides how much is logged",
    "use_colors": "the terminal decides",
    "uvicorn_workers": "one process answers many questions at once; APP_ROLE divides the work among several",
    "doc_indexing_batch_size": "what is ready is put together",
    "actions_batch_size": "actions are applied in bulk",
    "concurrent_file_fetches": "parser_processes decides how many files are in work",
    "model_offload_timeout": "models stay loaded",
    "disable_custom_model_download": "CC_DOWNLOAD_MODELS_FROM_HF=false in the environment forbids downloads",
    "model_download_uri": "'context-chat models fetch' fetches models; others are copied into model_files/",
}
"""Keys of the reference that change nothing here, and what does instead."""
MAPPED = {
    "embedding_chunk_size": ("chunk_tokens", 4),
    "file_parsing_cpu_count": ("parser_processes", 1),
    "doc_parser_worker_limit": ("parser_processes", 1),
    "doc_parser_workers": ("parser_processes", 1),
}
"""Keys of the reference that mean the same as one of ours, and how many of their units make one of ours."""
NUMBERS: Mapping[str, tuple[int | None, int]] = {
    "max_source_bytes": (104_857_600, 1),
    "waiting_sources_limit": (200_000, 1),
    "waiting_bytes_limit": (4 * 1024**3, 1),
    "chunk_tokens": (200, 32),
    "chunk_overlap_tokens": (None, 0),
    "parser_processes": (None, 1),
    "embedding_threads": (None, 1),
    "tasks_at_once": (4, 1),
}
"""Whole numbers: default (None: the hardware or another key decides) and least value."""
_NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What the library raises for damaged files: not its own errors alone."""
LOG_LEVELS = ("debug", "info", "warning", "error")
_LANGUAGE = re.compile(r"[A-Za-z]{3}(?:_[A-Za-z_]{1,20})?|script/[A-Za-z_]{1,40}")
"""What Tesseract calls a language or a script: `deu`, `chi_sim`, `script/Latin`."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of the file; none when there is no file. Raises ConfigurationError."""
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); it has to be a readable file") from error
    except _NOT_YAML as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ConfigurationError(f"{path}{line}: this is not YAML; mend it or delete the file") from error
    if keys is None:
        return {}
    if not isinstance(keys, dict):
        raise ConfigurationError(f"{path}: expected lines 'key: value'; mend it or delete the file")
    return keys


class KeyReader:
    """Takes known keys out of the file; what is left at the end is unknown. All methods raise ConfigurationError."""

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self._left = dict(keys)
        self._warnings: list[str] = []

    def warn(self, sentence: str) -> None:
        """Note what was ignored or mapped."""
        self._warnings.append(sentence)

    def model(self, section: str) -> ModelChoice:
        """The first supported model of a section; others of the reference are passed over with a warning."""
        given = self._section(section)
        known = models_of(section)
        default = next(iter(known))
        configured = bool(given)
        if section == "embedding" and (remote := read_remote(given, self.warn)) is not None:
            return remote
        for name, options in given.items():
            if (choice := read_choice(section, str(name), options, self.warn)) is not None:
                return choice
        if configured:
            self.warn(f"{section}: none of the configured models is available; '{default}' is used")
        return ModelChoice(default)

    def fallbacks(self, section: str) -> tuple[ModelChoice, ...]:
        """All supported models of `section`_fallback, in their order: a section, or a list of such."""
        key = f"{section}_fallback"
        listed = self._left.pop(key, None) or []
        chosen = []
        for given in listed if isinstance(listed, list) else [listed]:
            named = {given: None} if isinstance(given, str) else given
            if not isinstance(named, dict):
                raise ConfigurationError(f"{key}: expected names of models, with their options below them")
            chosen += [read_choice(section, str(name), options, self.warn, key) for name, options in named.items()]
        return tuple(choice for choice in chosen if choice is not None)

    def number(self, key: str, default: int, least: int) -> int:
        """A whole number of at least `least`."""
        value = self._left.pop(key, None)
        if value is None:
            return default
        return whole(key, value, least)

    def switch(self, key: str, *, default: bool = False) -> bool:
        """True or false; `default` when it is not set."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise ConfigurationError(f"{key}: expected true or false, found {shown(value)}")

    def address(self, key: str) -> str | None:
        """A URL; None when it is not set."""
        value = self._left.pop(key, None)
        return None if value is None else url(key, value)

    def recognition_languages(self) -> tuple[str, ...]:
        """`ocr_languages`: names of Tesseract, in a list or joined by `+`; none when it is not set."""
        given = self._left.pop("ocr_languages", None) or []
        names = given.split("+") if isinstance(given, str) else given
        if not isinstance(names, list) or not all(
            isinstance(name, str) and _LANGUAGE.fullmatch(name) for name in names
        ):
            raise ConfigurationError("ocr_languages: expected names of Tesseract, for example [deu, eng] or 'deu+eng'")
        return tuple(names)

    def map_names(self) -> None:
        """Rename keys of the reference that mean the same as ours; ours win."""
        for old, (new, units) in MAPPED.items():
            value = self._left.pop(old, None)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigurationError(f"{old}: expected a whole number, found {shown(value)}")
            if value > 0:  # the reference writes -1 for "as many as there are"
                self._left.setdefault(new, max(value // units, NUMBERS[new][1]))
                self.warn(f"{old} is called {new} here and is read as {self._left[new]}")

    def listeners(self) -> tuple[Listener, ...]:
        """`listeners`: further ports, and what is served there."""
        return read_listeners(self._left.pop("listeners", None))

    def chat_ports(self, host: str | None = None, port: int | None = None) -> ChatPorts:
        """`general`: where the chat server listens; `host` and `port` win where they are given."""
        given = self._left.pop("general", None)
        told = {key: value for key, value in (("host", host), ("port", port)) if value}
        return read_general((given if isinstance(given, dict) else {}) | told if told else given)

    def chat(self) -> ChatSettings:
        """What the chat server does."""
        return read_chat({name: self._left.pop(name) for name in SECTIONS if self._left.get(name)}, self.warn)

    def programs(self, process: Mapping[str, str]) -> ProgramSettings:
        """`environment`, `jwt` and `chatqna`: who may ask without Nextcloud, and how; `process` is its environment."""
        environment = self._left.pop("environment", None)
        named = process.get("ENVIRONMENT")
        if environment is None and named:
            if named in ENVIRONMENTS:
                environment = named
            else:
                self.warn(f"ENVIRONMENT: expected one of {', '.join(ENVIRONMENTS)}; 'production' is used")
        settings = read_program_settings(environment, *(self._left.pop(key, None) for key in ("jwt", "chatqna")))
        supabase = supabase_issuer(process)
        return settings if supabase is None else replace(settings, issuers=(*settings.issuers, supabase))

    def planner(self, process: Mapping[str, str]) -> PlannerSettings:
        """The section `planner`; the environment of the process wins."""
        return read_planner(self._left.pop("planner", None), process)

    def gateway(self, environment: Mapping[str, str]) -> GatewaySettings:
        """`models`, `roles` and `gateway`: what requests are passed on to."""
        models, roles, gateway = (self._left.pop(key, None) for key in ("models", "roles", "gateway"))
        return read_gateway(models, roles, gateway, environment, self.warn)

    def safety(self, *, by_rules: bool = False) -> SafetySettings:
        """The section `safety`; where there is none, rules judge if that is wanted."""
        return read_safety(self._left.pop("safety", {"judge": "rules"} if by_rules else None), self.warn)

    def limits(self) -> Limits:
        """The section `limits`."""
        return read_limits(self._left.pop("limits", None))

    def exclusions(self) -> Exclusions:
        """The rules below `exclude`."""
        return read_exclusions(self._left.pop("exclude", None))

    def log_level(self) -> str:
        """`log_level`, else what `debug` says."""
        debug = self.switch("debug")
        level = self._left.pop("log_level", None) or ("debug" if debug else "info")
        return one_of("log_level", level, LOG_LEVELS)

    def finish(self) -> tuple[str, ...]:
        """The warnings, once everything known was taken."""
        for key, instead in WITHOUT_EFFECT.items():
            if self._left.pop(key, None) is not None:
                self.warn(f"{key} has no effect here: {instead}")
        known = (
            *MODELS,
            "exclude",
            "safety",
            "limits",
            "disable_aaa",
            "refusals_per_minute",
            "check_rights_with_nextcloud",
            "ocr_languages",
            "debug",
            "log_level",
            "audit_log",
            "traces",
            "listeners",
            "environment",
            "jwt",
            "chatqna",
            "general",
            *SECTIONS,
            "planner",
            "models",
            "roles",
            "gateway",
            *NUMBERS,
            "conversation_days",
            *MAPPED,
            *WITHOUT_EFFECT,
        )
        for key in self._left:
            raise ConfigurationError(unknown(str(key), str(key), known))
        return tuple(self._warnings)

    def _section(self, name: str) -> dict[str, Any]:
        value = self._left.pop(name, None) or {}
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, dict):
            raise ConfigurationError(f"{name}: expected a section with the name of a model below it")
        return dict(value)
