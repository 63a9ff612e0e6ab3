# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration: `config.yaml` and the environment become one frozen `Config`, read once.

An unknown key stops the start with the nearest name; keys of the reference that have no effect here only warn, and so
do models we do not have as long as another one is configured (ruling 23). All keys and variables are listed in
docs/configuration.md.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from context_chat_backend import __version__
from context_chat_backend.errors import ConfigurationError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ROLES = ("normal", "requestproc", "updatesproc", "indexing")

VARIABLES = {
    "AA_VERSION": "version of AppAPI; not looked at",
    "APP_ID": "id of the ExApp",
    "APP_SECRET": "secret shared with Nextcloud",
    "APP_DISPLAY_NAME": "name shown in Nextcloud; not looked at",
    "APP_VERSION": "version told to Nextcloud",
    "APP_HOST": "address to listen on",
    "APP_PORT": "port to listen on",
    "APP_PERSISTENT_STORAGE": "folder that is kept over updates",
    "APP_ROLE": "what this process does",
    "NEXTCLOUD_URL": "base URL of Nextcloud",
    "COMPUTE_DEVICE": "CPU, CUDA or ROCM: which configuration is copied at the first start",
    "CCB_DB_URL": "URL of an external PostgreSQL",
    "EXTERNAL_DB": "URL of an external PostgreSQL, as the reference calls it",
    "HP_SHARED_KEY": "set by HaRP: listen on a unix socket",
    "HP_EXAPP_SOCK": "that unix socket",
}
"""Every environment variable the program reads, and what for."""

EMBEDDINGS = ("onnx", "hashing")
LANGUAGE_MODELS = ("extractive", "openai")
_REFERENCE_MODELS = ("nc_texttotext", "llama", "hugging_face", "ctransformer", "instructor", "openai", "base")
_EMBEDDING_OPTIONS = (
    "base_url", "protocol", "host", "port", "workers", "request_timeout", "batch_size", "remote_service", "model_name",
    "auth",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "uvicorn_log_level", "verify_ssl", "httpx_verify_ssl", "use_colors", "uvicorn_workers", "doc_indexing_batch_size",
    "actions_batch_size", "concurrent_file_fetches",
)  # fmt: skip
_MAPPED = {
    "embedding_chunk_size": "chunk_characters",
    "file_parsing_cpu_count": "parser_processes",
    "doc_parser_worker_limit": "parser_processes",
}
_NUMBERS = {
    "max_source_bytes": (104_857_600, 1),
    "waiting_sources_limit": (200_000, 1),
    "waiting_bytes_limit": (4 * 1024**3, 1),
    "chunk_characters": (1000, 200),
    "parser_processes": (None, 1),
    "embedding_threads": (None, 1),
}
"""Whole numbers: default (None: the hardware decides) and least value."""
_LOG_LEVELS = ("debug", "info", "warning", "error")


class Secret:
    """A text that must not be shown: prints as `***`, `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


@dataclass(frozen=True)
class AppSettings:
    """What makes this process an ExApp."""

    id: str = "context_chat_backend"
    version: str = __version__
    secret: Secret | None = None
    host: str = "127.0.0.1"
    port: int = 10034
    nextcloud_url: str | None = None
    role: str = "normal"
    harp_socket: Path | None = None
    disable_aaa: bool = False


@dataclass(frozen=True)
class ModelChoice:
    """A model by the name of its back-end, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class IndexingSettings:
    """Bounds of the index and of the work on it."""

    max_source_bytes: int
    waiting_sources_limit: int
    waiting_bytes_limit: int
    chunk_characters: int
    parser_processes: int
    embedding_threads: int


@dataclass(frozen=True)
class Config:
    """Everything the program is told from outside."""

    app: AppSettings
    storage: Path
    database_url: Secret | None
    """None: the embedded PostgreSQL."""
    embedding: ModelChoice
    llm: ModelChoice
    indexing: IndexingSettings
    log_level: str
    warnings: tuple[str, ...] = ()
    """What was ignored or mapped, one sentence each."""


def read_environment(working_directory: Path, process: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the process (the real one by default) over the file `.env` in the working directory."""
    file = working_directory / ".env"
    read = _parse_env(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return read | dict(os.environ if process is None else process)


def storage_of(environment: Mapping[str, str]) -> Path:
    """The folder that is kept over updates."""
    return Path(environment.get("APP_PERSISTENT_STORAGE") or "persistent_storage").absolute()


def load(environment: Mapping[str, str], *, cores: int) -> Config:
    """The configuration in `<storage>/config.yaml` and `environment`; `cores` decides counts that are not set.

    Raises ConfigurationError with the key or variable and the cure.
    """
    storage = storage_of(environment)
    keys = _read_yaml(storage / "config.yaml")
    reader = _Reader(keys)
    app = _app(environment, reader)
    return Config(
        app=app,
        storage=storage,
        database_url=_database_url(reader.section("vectordb"), environment),
        embedding=reader.model("embedding", EMBEDDINGS, EMBEDDINGS[0]),
        llm=reader.model("llm", LANGUAGE_MODELS, LANGUAGE_MODELS[0]),
        indexing=_indexing(reader, cores),
        log_level=reader.log_level(),
        warnings=reader.finish(),
    )


def _parse_env(text: str) -> dict[str, str]:
    """Lines `NAME=value`, as `docker --env-file` reads them, quotes and `export` allowed."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            values[name.strip()] = value[1:-1] if quoted else value
    return values


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ConfigurationError(f"{path}{line}: this is not YAML; mend it or delete the file") from error
    if keys is None:
        return {}
    if not isinstance(keys, dict):
        raise ConfigurationError(f"{path}: expected lines 'key: value'; mend it or delete the file")
    return keys


class _Reader:
    """Takes known keys out of the file; what is left at the end is unknown."""

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self._left = dict(keys)
        self._warnings: list[str] = []

    def warn(self, sentence: str) -> None:
        self._warnings.append(sentence)

    def section(self, name: str) -> dict[str, Any]:
        value = self._left.pop(name, None) or {}
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, dict):
            raise ConfigurationError(f"{name}: expected a section with the name of a model below it")
        return value

    def model(self, section: str, supported: tuple[str, ...], default: str) -> ModelChoice:
        """The first supported model of a section; others of the reference are passed over with a warning."""
        given = self.section(section)
        for name, options in given.items():
            if name in supported:
                if options is not None and not isinstance(options, dict):
                    raise ConfigurationError(f"{section}.{name}: expected options below it, one 'key: value' a line")
                return ModelChoice(str(name), dict(options or {}))
            if section == "embedding" and name in _EMBEDDING_OPTIONS:
                continue
            if name not in _REFERENCE_MODELS:
                raise ConfigurationError(_unknown(f"{section}.{name}", str(name), supported))
            self.warn(f"{section}.{name} is not available in this version and is passed over")
        if given:
            self.warn(f"{section}: none of the configured models is available; '{default}' is used")
        return ModelChoice(default)

    def number(self, key: str, default: int, least: int) -> int:
        value = self._left.pop(key, None)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(f"{key}: expected a whole number of at least {least}, found {value!r}")
        return value

    def switch(self, key: str) -> bool:
        value = self._left.pop(key, False)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise ConfigurationError(f"{key}: expected true or false, found {value!r}")

    def mapped(self) -> None:
        """Rename keys of the reference that mean the same as ours."""
        for old, new in _MAPPED.items():
            if old in self._left:
                value = self._left.pop(old)
                if isinstance(value, int) and value > 0:  # the reference writes -1 for "as many as there are"
                    self._left.setdefault(new, value)
                    self.warn(f"{old} is called {new} here and is read as that")

    def log_level(self) -> str:
        debug = self.switch("debug")
        level = self._left.pop("log_level", None) or ("debug" if debug else "info")
        if level not in _LOG_LEVELS:
            raise ConfigurationError(f"log_level: expected one of {', '.join(_LOG_LEVELS)}, found {level!r}")
        return str(level)

    def finish(self) -> tuple[str, ...]:
        for key in _WITHOUT_EFFECT:
            if self._left.pop(key, None) is not None:
                self.warn(f"{key} has no effect here")
        known = ("vectordb", "embedding", "llm", "disable_aaa", "debug", "log_level", *_NUMBERS, *_WITHOUT_EFFECT)
        for key in self._left:
            raise ConfigurationError(_unknown(str(key), str(key), known))
        return tuple(self._warnings)


def _unknown(path: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    cure = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
    return f"config.yaml: unknown key '{path}'; {cure}"


def _app(environment: Mapping[str, str], reader: _Reader) -> AppSettings:
    default = AppSettings()
    host = environment.get("APP_HOST") or default.host
    secret = environment.get("APP_SECRET") or None
    disable_aaa = reader.switch("disable_aaa")
    if disable_aaa and host not in LOOPBACK:
        raise ConfigurationError(
            f"disable_aaa: without authentication the program listens on 127.0.0.1 only, and APP_HOST is {host}: "
            "remove disable_aaa from config.yaml, or set APP_HOST=127.0.0.1"
        )
    if secret is None and host not in LOOPBACK:
        raise ConfigurationError(
            f"APP_SECRET: it is not set, so nobody could be told from anybody on {host}: set APP_SECRET to the secret "
            "the app is registered with, or APP_HOST=127.0.0.1"
        )
    if secret == "12345":  # noqa: S105
        reader.warn("APP_SECRET is the secret of the examples, which everybody knows: choose your own")
    role = environment.get("APP_ROLE") or "normal"
    if role not in ROLES:
        reader.warn(f"APP_ROLE: there is no such role; expected one of {', '.join(ROLES)}; 'normal' is used")
        role = "normal"
    harp = environment.get("HP_SHARED_KEY")
    return AppSettings(
        id=environment.get("APP_ID") or default.id,
        version=environment.get("APP_VERSION") or default.version,
        secret=None if secret is None else Secret(secret),
        host=host,
        port=_port(environment.get("APP_PORT") or str(default.port)),
        nextcloud_url=_nextcloud_url(environment.get("NEXTCLOUD_URL")),
        role=role,
        harp_socket=Path(environment.get("HP_EXAPP_SOCK") or "/tmp/exapp.sock") if harp else None,  # noqa: S108
        disable_aaa=disable_aaa,
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigurationError(f"APP_PORT: expected a port from 1 to 65535, found {text!r}")
    return int(text)


def _nextcloud_url(text: str | None) -> str | None:
    if not text:
        return None
    url = text.strip().rstrip("/").removesuffix("/index.php").rstrip("/")
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError("NEXTCLOUD_URL: expected a URL that begins with http:// or https://")
    return url


def _database_url(vectordb: Mapping[str, Any], environment: Mapping[str, str]) -> Secret | None:
    pgvector = vectordb.get("pgvector") or {}
    unknown = [name for name in vectordb if name not in ("pgvector", "chroma", "weaviate", "base")]
    if unknown:
        raise ConfigurationError(_unknown(f"vectordb.{unknown[0]}", str(unknown[0]), ("pgvector",)))
    if not isinstance(pgvector, dict):
        raise ConfigurationError(
            "vectordb.pgvector: expected options below it, for example 'connection: postgresql://…'"
        )
    named = {
        "vectordb.pgvector.connection": pgvector.get("connection"),
        "CCB_DB_URL": environment.get("CCB_DB_URL"),
        "EXTERNAL_DB": environment.get("EXTERNAL_DB"),
    }
    for name, url in named.items():
        if url:
            scheme, separator, rest = str(url).partition("://")
            if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
                raise ConfigurationError(f"{name}: expected a URL postgresql://user:password@host/database")
            return Secret(f"postgresql://{rest}")
    return None


def _indexing(reader: _Reader, cores: int) -> IndexingSettings:
    reader.mapped()
    by_hardware = {"parser_processes": max(1, cores // 2), "embedding_threads": max(1, cores // 2)}
    return IndexingSettings(
        **{
            key: reader.number(key, by_hardware[key] if default is None else default, least)
            for key, (default, least) in _NUMBERS.items()
        }
    )
