# SPDX-License-Identifier: AGPL-3.0-or-later
"""`limits` of `config.yaml`: how much, how long and how often whoever sends requests may occupy the program."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import unknown

_LEAST = {"header_bytes": 1024, "headers": 16, "part_header_bytes": 1024, "part_headers": 8, "json_depth": 8}
"""Below these no honest request would pass; elsewhere it is 1."""


@dataclass(frozen=True)
class Limits:
    """Whole numbers. Those of connections hold for each listener, those of requests for the process."""

    connections: int = 10_000
    """Open at once; one more is told to come back."""
    header_seconds: int = 20
    """From the opening of a connection, or the end of the last answer on it, to the end of a request's headers."""
    header_bytes: int = 65_536
    """Of the request line and all headers."""
    headers: int = 100
    body_seconds: int = 30
    """So long the sender of a body may be silent."""
    body_bytes_per_second: int = 1024
    """So fast a body comes, once `body_seconds` were waited for it."""
    reader_seconds: int = 60
    """So long somebody may take nothing of an answer that waits for him."""
    request_seconds: int = 3600
    """From the headers of a request to the end of its answer."""
    requests_at_once: int = 256
    requests_at_once_per_asker: int = 64
    """Of one user, or of one key."""
    program_body_bytes: int = 2 * 1024**2
    """JSON of programs."""
    chat_body_bytes: int = 1024**2
    """Of a message to the chat server."""
    import_body_bytes: int = 64 * 1024**2
    """JSON of pairs of questions and answers."""
    planner_body_bytes: int = 256 * 1024
    """JSON of the planner."""
    document_body_bytes: int = 1024**3
    """Files of programs, all of one request."""
    nextcloud_body_bytes: int = 32 * 1024**2
    """JSON of Nextcloud: the ids of 100 000 users, or a scope of a million files, have room."""
    push_body_bytes: int = 4 * 1024**3
    """Files of Nextcloud. The companion sends 25 sources of together less than 200 MiB."""
    parts: int = 1000
    """Of one multipart body."""
    part_headers: int = 64
    part_header_bytes: int = 16 * 1024**2
    """Of one part. Every user who may read a file stands in a header of it: 100 000 ids have room."""
    json_depth: int = 64
    """Lists and objects in each other."""
    question_characters: int = 32_768
    """Of a question Nextcloud asks."""


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
        if type(value) is not int or not least <= value < 2**63:
            raise ConfigurationError(f"limits.{key}: expected a whole number of at least {least}")
    return Limits(**given)
