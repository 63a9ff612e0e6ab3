# SPDX-License-Identifier: AGPL-3.0-or-later
"""`limits` of `config.yaml`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from context_chat_backend.limits import Limits
from context_chat_backend.settings.checks import section, whole

_LEAST = {
    "answer_bytes": 65_536, "file_memory_bytes": 256 * 1024**2, "header_bytes": 1024, "headers": 16, "json_depth": 8,
    "part_header_bytes": 1024, "part_headers": 8,
}  # fmt: skip
"""Below these nothing honest would pass; elsewhere it is 1."""


def read_limits(given: Any) -> Limits:
    """The section; what is missing in it has its default. Raises ConfigurationError with the key and the cure."""
    told = section("limits", given, [field.name for field in fields(Limits)])
    return Limits(**{key: whole(f"limits.{key}", value, _LEAST.get(key, 1)) for key, value in told.items()})
