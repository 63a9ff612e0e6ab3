# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources: their names, how they are delivered, and what became of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from context_chat_backend.domain.people import Principal

MAX_TITLE_CHARACTERS = 4096
"""Longer titles are cut: a path in Nextcloud has at most 4000 characters."""

FILES = "files__default"
"""The provider of files; those of all other providers are content of apps."""

_PROVIDER = re.compile(r"[A-Za-z0-9_-]+__[A-Za-z0-9_-]+")

_ITEM = re.compile(r"[A-Za-z0-9:-]+")

PAIR = "qa:"
"""What the items of pairs of a question and its answer begin with; nothing else is named so."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def is_provider_key(text: str) -> bool:
    """Whether `text` is a provider key, `<app>__<provider>` (contract push-4x 1.3)."""
    return len(text) <= 512 and _PROVIDER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class SourceRef:
    """The name of a source: `<app>__<provider>: <item>` (contract push-4x 1.3, the wider form)."""

    provider: str
    item: str

    def __str__(self) -> str:
        return f"{self.provider}: {self.item}"

    @property
    def is_pair(self) -> bool:
        """Whether it is a question with its answer, which is found by what it asks: its title."""
        return self.item.startswith(PAIR)

    @classmethod
    def parse(cls, text: str) -> SourceRef:
        """Read a source id as it stands on the wire.

        Raises ValueError, with a sentence that may be shown, when the shape is wrong.
        """
        provider, separator, item = text.partition(": ")
        if not separator or not is_provider_key(provider) or len(item) > 512 or not _ITEM.fullmatch(item):
            raise ValueError("a source id has the form 'app__provider: item', for example 'files__default: 42'")
        return cls(provider, item)


def clean_title(text: str) -> str:
    """One line without control characters, at most MAX_TITLE_CHARACTERS long."""
    return _CONTROL.sub(" ", text).strip()[:MAX_TITLE_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One source as it arrives: everything about it but its bytes."""

    realm: str
    ref: SourceRef
    title: str
    media_type: str
    modified_at: datetime
    """Aware; a delivery that is newer than what is stored is indexed anew."""
    readers: frozenset[Principal]
    adds_readers: bool = False
    """Whether readers of an unchanged source are added rather than replaced (ruling 5: content items, beta4)."""
    received_at: datetime | None = None
    """When it began to arrive, by the database's clock: a deletion that came before does not concern it. None: it is
    admitted as it arrives."""
    readers_since: datetime | None = None
    """Where it is known: when its readers were read at the earliest. Actions that came before are in them already,
    and actions that came later are applied to it, also when its source is known."""
    remote: bool = False
    """Whether its bytes are fetched from Nextcloud when it is indexed; else they come with it."""


class Admission(StrEnum):
    """What became of a delivery at the door."""

    ADMITTED = "admitted"
    UNCHANGED = "unchanged"
    WAITING = "waiting"
    """The same version is already waiting to be indexed."""


class State(StrEnum):
    """Where a source stands."""

    WAITING = "waiting"
    """Admitted; its bytes lie in the spool; also while leased by a worker."""
    INDEXED = "indexed"
    REJECTED = "rejected"
    """Final for this version; `reason` says why. An older indexed version, if any, is gone."""
    QUARANTINED = "quarantined"
    """As rejected, because it killed its parser twice; not tried when the same version is delivered again."""


class Reason(StrEnum):
    """Why a source was rejected or is retried: a closed list, so that it may be counted and shown."""

    EMPTY = "empty"
    TOO_LARGE = "too large"
    UNSUPPORTED = "unsupported format"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged or not of the declared format"
    NO_RECOGNITION = "a picture, and text recognition is not installed: install tesseract with its languages"
    PARSER_DIED = "its parser crashed"
    PARSER_TIMEOUT = "its parser took too long"
    PARSER_MEMORY = "its parser needed too much memory"
    TOO_MUCH_TEXT = "too much text"
    TOO_MANY_PARTS = "too many pages, entries or attachments"
    TOO_DEEP = "nested too deeply"
    EXPANDS = "expands to far more than its size"
    ENTITIES = "declares entities that name files or each other"
    EXCLUDED = "excluded"
    NOT_FOUND = "not found in Nextcloud"
    UNREADABLE = "cannot be opened in Nextcloud"
    DISK_FULL = "no room on the disk"
    NEXTCLOUD_DOWN = "Nextcloud not available"
    EMBEDDING_DOWN = "embedding not available"
    EMBEDDING_REFUSED = "refused by the embedding model"
    INTERNAL = "internal error"


@dataclass(frozen=True, slots=True)
class ClaimedSource:
    """A waiting source that a worker has leased."""

    id: int
    realm: str
    ref: SourceRef
    version: int
    title: str
    media_type: str
    modified_at: datetime
    attempts: int
    """Including this one."""
    remote: bool = False
    """Whether its bytes are to be fetched from Nextcloud."""
    size: int = 0
    """In bytes, as it was delivered; 0 where that was not known."""
    body: bytes | None = field(default=None, compare=False, repr=False)
    """The bytes of a small one that was pushed."""


@dataclass(frozen=True, slots=True)
class SourceLabel:
    """How a source is shown to a user."""

    label: str
    icon: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class FoundSource:
    """One source of a search result."""

    ref: SourceRef
    title: str
    similarity: float
