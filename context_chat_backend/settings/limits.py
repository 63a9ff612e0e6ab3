# SPDX-License-Identifier: AGPL-3.0-or-later
"""`limits` of `config.yaml`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.limits import Limits
from context_chat_backend.settings.checks import unknown

_MOST = 2**50
_LEAST = {
    "file_memory_bytes": 256 * 1024**2, "header_bytes": 1024, "headers": 16, "json_depth": 8,
    "part_header_bytes": 1024, "part_headers": 8,
}  # fmt: skip
"""Below these nothing honest would pass; elsewhere it is 1."""


def read_limits(given: Any) -> Limits:
    """The section; what is missing in it has its default. Raises ConfigurationError with the key and the cure."""
    if given is None:
        return Limits()
    if not isinstance(given, dict):
        raise ConfigurationError("limits: expected options below it, one 'key: value' a line")
    names = [field.name for field in fields(Limits)]
    for key, value in given.items():
        if key not in names:
            raise ConfigurationError(unknown(f"limits.{key}", str(key), names))
        least = _LEAST.get(key, 1)
        if type(value) is not int or not least <= value < _MOST:
            raise ConfigurationError(f"limits.{key}: expected a whole number of at least {least}")
    return Limits(**given)
