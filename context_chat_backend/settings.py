# SPDX-License-Identifier: AGPL-3.0-or-later
"""The keys of `config.yaml`: which there are, of which type, and what becomes of those of the reference (ruling 23).

An unknown key stops the start with the nearest name, an ill-typed value with the type and the key. A key of the
reference that has no effect here only warns, and so does a model we do not have as long as another can take its place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from context_chat_backend import language_settings
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.exclusions import Exclusions, read_exclusions


class Layers(int):
    """A number of layers: 0 is none, -1 all there are."""


MODELS: Mapping[str, Mapping[str, Mapping[str, type]]] = {
    "vectordb": {"pgvector": {"connection": str}},
    "embedding": {
        "onnx": {
            "quantised": bool, "model": str, "question_prefix": str, "passage_prefix": str, "pooling": str,
            "max_tokens": int,
        },
        "hashing": {"dimension": int},
        "openai": {
            "base_url": str, "model_name": str, "api_key": str, "username": str, "password": str, "batch_size": int,
            "request_timeout": int, "dimension": int, "max_tokens": int, "question_prefix": str, "passage_prefix": str,
        },
        "llama": {
            "model": str, "n_ctx": int, "n_batch": int, "n_threads": int, "n_gpu_layers": Layers, "use_mlock": bool,
            "question_prefix": str, "passage_prefix": str,
        },
        "sentence_transformers": {"model": str, "device": str, "question_prefix": str, "passage_prefix": str},
    },
    "reranker": {
        "none": {},
        "onnx": {"model": str},
        "cross_encoder": {"model": str},
        "remote": {"base_url": str, "model": str, "api_key": str, "request_timeout": int},
    },
}  # fmt: skip
"""What each section may name (the first is the default), with its options and their types; for `llm` see
language_settings."""
NEEDS = {"llama": ("llama_cpp", "llama"), "sentence_transformers": ("sentence_transformers", "transformers")}
"""Models that are there only when a package is installed, with the package and our extra that brings it."""
MODELS_OF_THE_REFERENCE = {
    "vectordb": ("chroma", "weaviate"),
    "embedding": ("hugging_face", "instructor"),
}
BESIDE_EMBEDDING = (
    "base_url", "protocol", "host", "port", "workers", "request_timeout", "batch_size", "remote_service", "model_name",
    "model", "auth", "offload_after_mins",
)  # fmt: skip
"""Options of the reference that stand beside the model in `embedding`: they speak of a server."""
OF_A_REMOTE_SERVER = ("base_url", "model_name", "model", "auth", "batch_size", "request_timeout")
"""Those of them that mean something here, where the server is a remote one."""
LANGCHAIN_NAMES: Mapping[str, Mapping[str, str]] = {
    "embedding.openai": {
        "model": "model_name", "apikey": "api_key", "openai_api_key": "api_key", "openai_api_base": "base_url",
        "chunk_size": "batch_size", "dimensions": "dimension",
    },
    "embedding.llama": {"model_path": "model"},
    "embedding.sentence_transformers": {"model_name": "model"},
}  # fmt: skip
"""Other names of options of a model."""
LANGCHAIN_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "embedding.openai": ("remote_service", "workers", "max_retries", "model_kwargs"),
    "embedding.llama": (
        "n_parts", "seed", "f16_kv", "logits_all", "vocab_only", "verbose", "device", "model_alias", "embedding",
        "model_kwargs",
    ),
}  # fmt: skip
"""Options of LangChain or of the reference that have no effect here."""
WITHOUT_EFFECT = (
    "uvicorn_log_level", "use_colors", "uvicorn_workers", "doc_indexing_batch_size",
    "actions_batch_size", "concurrent_file_fetches", "model_offload_timeout", "disable_custom_model_download",
    "model_download_uri",
)  # fmt: skip
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
LOG_LEVELS = ("debug", "info", "warning", "error")
_SECRET = re.compile(r"key|secret|token$|password|auth", re.IGNORECASE)
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_LANGUAGE = re.compile(r"[A-Za-z]{3}(?:_[A-Za-z_]{1,20})?|script/[A-Za-z_]{1,40}")
"""What Tesseract calls a language or a script: `deu`, `chi_sim`, `script/Latin`."""
_TYPES = {
    str: "a text (in quotes where it looks like a number)",
    bool: "true or false",
    int: "a whole number of at least 1",
    float: "a number",
    Layers: "a number of layers, -1 for all",
}


@dataclass(frozen=True)
class ModelChoice:
    """A model by the name of its back-end, with its options. They may hold keys of servers and are not printed."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def without_secrets(self) -> ModelChoice:
        """The same model as it may be written down: without keys, and without names and passwords in addresses."""
        options = {key: value for key, value in self.options.items() if not _SECRET.search(key)}
        return ModelChoice(
            self.name, {k: _CREDENTIALS.sub("//", v) if isinstance(v, str) else v for k, v in options.items()}
        )

    def with_secrets_of(self, other: ModelChoice) -> ModelChoice:
        """The same model with the secrets of another one of the same server, so that no other server learns them."""
        mine, theirs = self.without_secrets().options, other.without_secrets().options
        if self.name != other.name or mine.get("base_url") != theirs.get("base_url"):
            return self
        secrets = {key: value for key, value in other.options.items() if theirs.get(key) != value}
        return ModelChoice(self.name, {**self.options, **secrets})


SURFACES = ("nextcloud", "openai")
"""What may be served at a port."""


@dataclass(frozen=True)
class Listener:
    """A port, and what is served there."""

    port: int
    surfaces: tuple[str, ...] = ("nextcloud",)
    host: str | None = None
    """None: where the program listens for Nextcloud."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of the file; none when there is no file. Raises ConfigurationError."""
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); it has to be a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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
        known = _models(section)
        default = next(iter(known))
        configured = bool(given)
        if section == "embedding" and (remote := self._remote(given)) is not None:
            return remote
        for name, options in given.items():
            if (choice := self._choice(section, str(name), options)) is not None:
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
            chosen += [self._choice(section, str(name), options, key) for name, options in named.items()]
        return tuple(choice for choice in chosen if choice is not None)

    def number(self, key: str, default: int, least: int) -> int:
        """A whole number of at least `least`."""
        value = self._left.pop(key, None)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(f"{key}: expected a whole number of at least {least}, found {value!r}")
        return value

    def switch(self, key: str, *, default: bool = False) -> bool:
        """True or false; `default` when it is not set."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise ConfigurationError(f"{key}: expected true or false, found {value!r}")

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
                raise ConfigurationError(f"{old}: expected a whole number, found {value!r}")
            if value > 0:  # the reference writes -1 for "as many as there are"
                self._left.setdefault(new, max(value // units, NUMBERS[new][1]))
                self.warn(f"{old} is called {new} here and is read as {self._left[new]}")

    def listeners(self) -> tuple[Listener, ...]:
        """`listeners`: further ports, and what is served there."""
        given = self._left.pop("listeners", None) or []
        if not isinstance(given, list):
            raise ConfigurationError("listeners: expected a list, for example [{port: 5000, surfaces: [openai]}]")
        found = tuple(_listener(f"listeners[{number}]", one) for number, one in enumerate(given))
        for port in (one.port for one in found):
            if sum(one.port == port for one in found) > 1:
                raise ConfigurationError(f"listeners: {port} stands there twice: name all of its surfaces in one place")
        return found

    def exclusions(self) -> Exclusions:
        """The rules below `exclude`."""
        return read_exclusions(self._left.pop("exclude", None))

    def log_level(self) -> str:
        """`log_level`, else what `debug` says."""
        debug = self.switch("debug")
        level = self._left.pop("log_level", None) or ("debug" if debug else "info")
        if level not in LOG_LEVELS:
            raise ConfigurationError(f"log_level: expected one of {', '.join(LOG_LEVELS)}, found {level!r}")
        return str(level)

    def finish(self) -> tuple[str, ...]:
        """The warnings, once everything known was taken."""
        for key in WITHOUT_EFFECT:
            if self._left.pop(key, None) is not None:
                self.warn(f"{key} has no effect here")
        known = (
            *MODELS,
            "exclude",
            "disable_aaa",
            "check_rights_with_nextcloud",
            "ocr_languages",
            "debug",
            "log_level",
            "listeners",
            *NUMBERS,
            *MAPPED,
            *WITHOUT_EFFECT,
        )
        for key in self._left:
            raise ConfigurationError(_unknown(str(key), str(key), known))
        return tuple(self._warnings)

    def _section(self, name: str) -> dict[str, Any]:
        value = self._left.pop(name, None) or {}
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, dict):
            raise ConfigurationError(f"{name}: expected a section with the name of a model below it")
        return dict(value)

    def _remote(self, given: dict[str, Any]) -> ModelChoice | None:
        """The remote server described beside the models of `embedding`, as the reference does it; takes its keys out.

        It is meant where `remote_service` is true, or where an address is given and no model.
        """
        beside = {key: given.pop(key) for key in BESIDE_EMBEDDING if key in given}
        beside = {key: value for key, value in beside.items() if value is not None}
        remote = beside.pop("remote_service", False)
        meant = remote is True or ("base_url" in beside and not given)
        idle = [key for key in beside if not meant or key not in OF_A_REMOTE_SERVER]
        if idle:
            self.warn(f"embedding: {', '.join(idle)}: without effect, the model runs without a server")
        if not meant:
            return None
        options = {key: value for key, value in beside.items() if key in OF_A_REMOTE_SERVER}
        return ModelChoice("openai", self._options("embedding", "openai", options, "embedding.openai"))

    def _login(self, path: str, given: Any) -> dict[str, Any]:
        """`apikey`, or `username` and `password`; 'from_env' leaves both to CC_EM_APIKEY, CC_EM_USERNAME, …"""
        if given is None or given == "from_env":
            return {}
        if not isinstance(given, dict):
            raise ConfigurationError(f"{path}: expected apikey, or username and password, or 'from_env'")
        names = {"apikey": "api_key", "api_key": "api_key", "username": "username", "password": "password"}
        options: dict[str, Any] = {}
        for key, value in given.items():
            if key not in names:
                raise ConfigurationError(_unknown(f"{path}.{key}", str(key), names))
            if value is not None:
                options[names[key]] = _typed(f"{path}.{key}", value, str)
        return options

    def _choice(self, section: str, name: str, given: Any, key: str = "") -> ModelChoice | None:
        """The model of that name at `key` (by default that of its section); None when it is passed over."""
        path = f"{key or section}.{name}"
        if section == "llm":
            name = language_settings.named_now(name, self.warn)
        if name in _models(section):
            needed = (language_settings.NEEDS if section == "llm" else NEEDS).get(name)
            if needed is not None and find_spec(needed[0]) is None:
                self.warn(f"{path} is passed over: it needs pip install '.[{needed[1]}]'")
                return None
            return ModelChoice(name, self._options(section, name, given, path))
        if name not in MODELS_OF_THE_REFERENCE.get(section, ()):
            raise ConfigurationError(_unknown(path, name, _models(section)))
        self.warn(f"{path} is not available in this version and is passed over")
        return None

    def _options(self, section: str, model: str, given: Any, path: str) -> dict[str, Any]:
        if given is not None and not isinstance(given, dict):
            raise ConfigurationError(f"{path}: expected options below it, one 'key: value' a line")
        if section == "llm":
            return language_settings.read_options(path, model, given or {}, self.warn)
        types = MODELS[section][model]
        options: dict[str, Any] = {}
        for key, value in (given or {}).items():
            name = LANGCHAIN_NAMES.get(path, {}).get(str(key), str(key))
            if path == "embedding.openai" and name == "auth":
                options |= self._login(f"{path}.auth", value)
            elif name in types:
                if value is not None:
                    options[name] = _typed(f"{path}.{key}", value, types[name])
            elif name in LANGCHAIN_OPTIONS.get(path, ()):
                self.warn(f"{path}.{name} has no effect here")
            else:
                raise ConfigurationError(_unknown(f"{path}.{key}", name, types))
        return options


def _models(section: str) -> Iterable[str]:
    return language_settings.LANGUAGE_MODELS if section == "llm" else MODELS[section]


def _listener(path: str, given: Any) -> Listener:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: expected port and surfaces, for example {{port: 5000, surfaces: [openai]}}")
    for key in given:
        if key not in ("port", "surfaces", "host"):
            raise ConfigurationError(_unknown(f"{path}.{key}", str(key), ("port", "surfaces", "host")))
    port, surfaces, host = given.get("port"), given.get("surfaces"), given.get("host")
    if type(port) is not int or not 1 <= port <= 65535:
        raise ConfigurationError(f"{path}.port: expected a port from 1 to 65535, found {port!r}")
    if not isinstance(surfaces, list) or not surfaces or not all(surface in SURFACES for surface in surfaces):
        raise ConfigurationError(f"{path}.surfaces: expected some of {', '.join(SURFACES)}, found {surfaces!r}")
    if host is not None and not isinstance(host, str):
        raise ConfigurationError(f"{path}.host: expected an address, for example 127.0.0.1")
    return Listener(port, tuple(dict.fromkeys(surfaces)), host)


def _typed(path: str, value: Any, kind: type) -> Any:
    """`value` when it is of that type. The error does not quote it: it may be a password."""
    if kind is Layers and type(value) is int and value >= -1:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (type(value) is int and value < 1):
        raise ConfigurationError(f"{path}: expected {_TYPES[kind]}")
    return value


def _unknown(path: str, name: str, known: Iterable[str]) -> str:
    names = tuple(known)
    near = difflib.get_close_matches(name, names, n=1)
    there_are = f"there are: {', '.join(names)}" if names else "it has none"
    return f"config.yaml: unknown key '{path}'; " + (f"did you mean '{near[0]}'?" if near else there_are)
