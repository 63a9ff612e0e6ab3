# SPDX-License-Identifier: AGPL-3.0-or-later
"""`listeners` of `config.yaml`: further ports, and what is served there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import port, section, shown, switch

SURFACES = ("nextcloud", "openai", "chatqna", "chat", "redirect", "gateway", "planner", "metrics")
"""What may be served at a port."""


_KEYS = ("port", "surfaces", "host", "tls")
_KEYS_OF_TLS = ("cert_file", "key_file", "key_password")
_KEYS_OF_GENERAL = ("host", "port", "verbose", "https")
_KEYS_OF_HTTPS = ("enabled", "port", *_KEYS_OF_TLS, "acme_challenge_dir", "redirect_http")
_CHAT_PORT, _CHAT_TLS_PORT = 3000, 3443


@dataclass(frozen=True)
class Tls:
    """The certificate by which a port is known; it is read again when it is renewed."""

    cert_file: Path
    key_file: Path
    key_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Listener:
    """A port, and what is served there."""

    port: int
    surfaces: tuple[str, ...] = ("nextcloud",)
    host: str | None = None
    """None: where the program listens for Nextcloud."""
    tls: Tls | None = None
    """None: what is said can be read on the way."""


@dataclass(frozen=True)
class ChatPorts:
    """What `general` says: where the chat server listens."""

    listeners: tuple[Listener, ...] = ()
    challenges: Path | None = None
    """Where answers to challenges of ACME lie."""
    tls_port: int | None = None
    """Where callers of the open port are sent; None: nowhere."""


def read_listeners(given: Any) -> tuple[Listener, ...]:
    """The entries of `listeners`; none where it is empty. Raises ConfigurationError."""
    given = given or []
    if not isinstance(given, list):
        raise ConfigurationError("listeners: expected a list, for example [{port: 5000, surfaces: [openai]}]")
    found = tuple(_listener(f"listeners[{number}]", one) for number, one in enumerate(given))
    for number in (one.port for one in found):
        if sum(one.port == number for one in found) > 1:
            raise ConfigurationError(f"listeners: {number} stands there twice: name all of its surfaces in one place")
    return found


def read_general(given: Any) -> ChatPorts:
    """What `general` says; nothing is listened on where it is missing. Raises ConfigurationError."""
    if given is None:
        return ChatPorts()
    told = section("general", given, _KEYS_OF_GENERAL)
    https = section("general.https", told.get("https") or None, _KEYS_OF_HTTPS)
    host, open_port = told.get("host", "0.0.0.0"), port("general.port", told.get("port", _CHAT_PORT))  # noqa: S104
    if not isinstance(host, str):
        raise ConfigurationError("general.host: expected an address, for example 127.0.0.1")
    challenges = https.get("acme_challenge_dir")
    if challenges is not None and not isinstance(challenges, str):
        raise ConfigurationError("general.https.acme_challenge_dir: expected a folder")
    folder = None if challenges is None else Path(challenges)
    if not switch("general.https.enabled", https.get("enabled", False)):
        return ChatPorts((Listener(open_port, ("chat",), host),), folder)
    tls_port = port("general.https.port", https.get("port", _CHAT_TLS_PORT))
    tls = _tls("general.https", {key: value for key, value in https.items() if key in _KEYS_OF_TLS})
    listeners = (Listener(open_port, ("redirect",), host), Listener(tls_port, ("chat",), host, tls))
    redirects = switch("general.https.redirect_http", https.get("redirect_http", True))
    return ChatPorts(listeners, folder, tls_port if redirects else None)


def _listener(path: str, given: Any) -> Listener:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: expected port and surfaces, for example {{port: 5000, surfaces: [openai]}}")
    told = section(path, given, _KEYS)
    number, surfaces, host = port(f"{path}.port", told.get("port")), told.get("surfaces"), told.get("host")
    if not isinstance(surfaces, list) or not surfaces or not all(surface in SURFACES for surface in surfaces):
        raise ConfigurationError(f"{path}.surfaces: expected some of {', '.join(SURFACES)}, found {shown(surfaces)}")
    if host is not None and not isinstance(host, str):
        raise ConfigurationError(f"{path}.host: expected an address, for example 127.0.0.1")
    tls = None if given.get("tls") is None else _tls(f"{path}.tls", given["tls"])
    return Listener(number, tuple(dict.fromkeys(surfaces)), host, tls)


def _tls(path: str, given: Any) -> Tls:
    told = section(path, given, _KEYS_OF_TLS)
    for key, value in told.items():
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{path}.{key}: expected a text")
    for key in ("cert_file", "key_file"):
        if not told.get(key):
            raise ConfigurationError(f"{path}.{key}: it is missing; name a file in PEM")
    return Tls(Path(told["cert_file"]), Path(told["key_file"]), told.get("key_password") or None)
