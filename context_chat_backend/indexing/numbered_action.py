# SPDX-License-Identifier: AGPL-3.0-or-later
"""One action of Nextcloud: who may read what from then on. They take effect in the order of their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from context_chat_backend.domain import Principal, SourceRef


class Kind(StrEnum):
    """What an action does."""

    ALLOW = "allow"
    DENY = "deny"
    REPLACE = "replace"
    DELETE = "delete"
    DELETE_USER = "delete user"


@dataclass(frozen=True, slots=True)
class Action:
    """One action of Nextcloud."""

    id: int
    kind: Kind
    targets: tuple[SourceRef, ...] | str = ()
    """Sources, or all of the provider of that key; nothing where a user is deleted."""
    readers: frozenset[Principal] = frozenset()
