# SPDX-License-Identifier: AGPL-3.0-or-later
"""The keys of `config.yaml` about the chat server, under the names earlier chat servers had for them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import one_of, shown, switch, typed, unknown, url

REDACTIONS = ("none", "pii", "all")
SECTIONS = (
    "chroma", "retrieval", "api_keys", "admin", "rate_limits", "messages", "server", "elasticsearch", "logging",
)  # fmt: skip
_NAMES: Mapping[str, tuple[str, type]] = {
    "retrieval.candidates": ("candidates", int),
    "retrieval.return_results": ("return_results", int),
    "retrieval.direct_answer": ("direct_answer", bool),
    "chroma.relevance_threshold": ("relevance_threshold", float),
    "chroma.confidence_threshold": ("confidence_threshold", float),
    "chroma.collection": ("collection", str),
    "messages.no_results": ("no_results", str),
    "api_keys.header_name": ("header_name", str),
    "api_keys.prefix": ("prefix", str),
    "api_keys.require_for_health": ("require_for_health", bool),
    "api_keys.allow_default": ("allow_default", bool),
    "rate_limits.ip_per_minute": ("ip_per_minute", int),
    "rate_limits.key_per_minute": ("key_per_minute", int),
    "rate_limits.key_daily": ("key_daily", int),
    "server.cors_origins": ("cors_origins", list),
    "server.trusted_proxies": ("trusted_proxies", list),
    "elasticsearch.enabled": ("elasticsearch_enabled", bool),
    "elasticsearch.node": ("elasticsearch_node", str),
    "elasticsearch.index": ("elasticsearch_index", str),
    "elasticsearch.retry_seconds": ("elasticsearch_retry", int),
    "elasticsearch.verify_certs": ("elasticsearch_verifies", bool),
    "elasticsearch.auth.username": ("elasticsearch_username", str),
    "elasticsearch.auth.password": ("elasticsearch_password", str),
    "logging.chat.redact": ("redact", str),
    "logging.chat.max_size_mb": ("max_size_mb", int),
    "logging.chat.retention_days": ("retention_days", int),
    "admin.token": ("admin_token", str),
}
"""What each key is called below, and its type."""
_WITHOUT_EFFECT = re.compile(
    r"chroma\.(host|port)|logging\.(level|file\..*|console\..*)|logging\.(file|console)|logging\.chat\.(enabled|directory)"
)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,16}")
_INDEX = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}")


@dataclass(frozen=True)
class ChatSettings:
    """What the chat server does."""

    candidates: int = 10
    """So many passages are looked at."""
    return_results: int = 3
    """So many are used at most."""
    relevance_threshold: float | None = None
    """Cosine similarity from which on a passage counts as found; None: what counts as found everywhere."""
    confidence_threshold: float = 0.85
    """Cosine similarity from which on a kept answer may be given as it is."""
    direct_answer: bool = False
    """Whether it is."""
    collection: str = ""
    """Who sends no key asks it, where `allow_default` is set."""
    no_results: str = ""
    """Empty: ours, in the language of the question."""
    header_name: str = "X-API-Key"
    prefix: str = "api_"
    require_for_health: bool = False
    allow_default: bool = False
    ip_per_minute: int = 60
    key_per_minute: int = 120
    """Of a key that has no limit of its own."""
    key_daily: int | None = None
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks that say truly whom they speak for."""
    elasticsearch_enabled: bool = False
    elasticsearch_node: str = ""
    elasticsearch_index: str = "chat-logs"
    elasticsearch_verifies: bool = True
    elasticsearch_username: str = ""
    elasticsearch_password: str = field(default="", repr=False)
    elasticsearch_retry: int = 30
    """Seconds after which an Elasticsearch that is away is tried again."""
    redact: str = "none"
    max_size_mb: int = 20
    retention_days: int = 14
    admin_token: str = field(default="", repr=False)

    @property
    def ships_records(self) -> bool:
        """Whether records of exchanges are sent to Elasticsearch."""
        return bool(self.elasticsearch_enabled and self.elasticsearch_username and self.elasticsearch_password)


def read_chat(given: Mapping[str, Any], warn: Callable[[str], None]) -> ChatSettings:
    """What stands in the SECTIONS, by their names. Raises ConfigurationError with the key and the cure."""
    told: dict[str, Any] = {}
    for path, value in _flat("", given):
        if _WITHOUT_EFFECT.fullmatch(path):
            warn(f"{path} has no effect here")
        elif path not in _NAMES:
            raise ConfigurationError(unknown(path, path, _NAMES))
        elif value is not None:
            name, kind = _NAMES[path]
            told[name] = _typed(path, value, kind)
    settings = ChatSettings(**told)
    _check(settings)
    if settings.elasticsearch_enabled and not settings.ships_records:
        warn("elasticsearch: username and password are not set, so that records go to the file alone")
    return settings


def _flat(prefix: str, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in given.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            found += _flat(f"{path}.", value)
        elif prefix or value is not None:
            if not prefix:
                raise ConfigurationError(f"{path}: expected a section, with one 'key: value' a line below it")
            found.append((path, value))
    return found


def _typed(path: str, value: Any, kind: type) -> Any:
    if kind is list:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ConfigurationError(f"{path}: expected a list of texts")
        return tuple(value)
    if kind is bool:
        return switch(path, value)
    return typed(path, value, kind)


def _check(settings: ChatSettings) -> None:
    for name in ("relevance_threshold", "confidence_threshold"):
        if not -1 <= (getattr(settings, name) or 0) <= 1:
            raise ConfigurationError(f"chroma.{name}: expected a cosine similarity from -1 to 1")
    if settings.candidates > 100 or settings.return_results > settings.candidates:
        raise ConfigurationError("retrieval: expected at most 100 candidates, and no more return_results than those")
    one_of("logging.chat.redact", settings.redact, REDACTIONS)
    if not _HEADER.fullmatch(settings.header_name):
        raise ConfigurationError("api_keys.header_name: expected letters, digits and hyphens")
    if not _PREFIX.fullmatch(settings.prefix):
        raise ConfigurationError("api_keys.prefix: expected at most 16 letters, digits, hyphens and underscores")
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ConfigurationError(f"server.trusted_proxies: {shown(proxy)} is no address or network") from None
    _check_elasticsearch(settings)


def _check_elasticsearch(settings: ChatSettings) -> None:
    if settings.elasticsearch_enabled:
        url("elasticsearch.node", settings.elasticsearch_node, "https://localhost:9200")
        if not _INDEX.fullmatch(settings.elasticsearch_index):
            raise ConfigurationError("elasticsearch.index: expected small letters, digits, dots, hyphens, underscores")
