# SPDX-License-Identifier: AGPL-3.0-or-later
"""`listeners` of `config.yaml`: further ports, and what is served there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import shown, unknown

SURFACES = ("nextcloud", "openai", "chatqna", "planner", "metrics")
"""What may be served at a port."""


@dataclass(frozen=True)
class Listener:
    """A port, and what is served there."""

    port: int
    surfaces: tuple[str, ...] = ("nextcloud",)
    host: str | None = None
    """None: where the program listens for Nextcloud."""


def read_listeners(given: Any) -> tuple[Listener, ...]:
    """The entries of `listeners`; none where it is empty. Raises ConfigurationError."""
    given = given or []
    if not isinstance(given, list):
        raise ConfigurationError("listeners: expected a list, for example [{port: 5000, surfaces: [openai]}]")
    found = tuple(_listener(f"listeners[{number}]", one) for number, one in enumerate(given))
    for port in (one.port for one in found):
        if sum(one.port == port for one in found) > 1:
            raise ConfigurationError(f"listeners: {port} stands there twice: name all of its surfaces in one place")
    return found


def _listener(path: str, given: Any) -> Listener:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: expected port and surfaces, for example {{port: 5000, surfaces: [openai]}}")
    for key in given:
        if key not in ("port", "surfaces", "host"):
            raise ConfigurationError(unknown(f"{path}.{key}", str(key), ("port", "surfaces", "host")))
    port, surfaces, host = given.get("port"), given.get("surfaces"), given.get("host")
    if type(port) is not int or not 1 <= port <= 65535:
        raise ConfigurationError(f"{path}.port: expected a port from 1 to 65535, found {shown(port)}")
    if not isinstance(surfaces, list) or not surfaces or not all(surface in SURFACES for surface in surfaces):
        raise ConfigurationError(f"{path}.surfaces: expected some of {', '.join(SURFACES)}, found {shown(surfaces)}")
    if host is not None and not isinstance(host, str):
        raise ConfigurationError(f"{path}.host: expected an address, for example 127.0.0.1")
    return Listener(port, tuple(dict.fromkeys(surfaces)), host)
