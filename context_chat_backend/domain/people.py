# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks and who may read: users, collections as readers, and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Realm(StrEnum):
    """Where a name of a user or a source is valid. A door acts in its own realm only."""

    NEXTCLOUD = "nextcloud"
    LOCAL = "local"
    """Users and sources without Nextcloud."""
    COLLECTION = "collection"
    """Collections of such sources, as readers of what lies in them: a key of a collection asks in its name."""
    EVERYBODY = "everybody"
    """Who asks without a name; what he may read everybody may read."""
    KEY = "key"
    """Keys of several collections, as readers of what lies in them."""


def realm_of_issuer(issuer: str) -> str:
    """The realm of the users whom the tokens of `issuer` name, where they are users of nobody else."""
    return f"jwt:{issuer}"


@dataclass(frozen=True, slots=True, order=True)
class Principal:
    """Somebody who may read: a user of one realm."""

    realm: str
    name: str

    def __post_init__(self) -> None:
        if not self.name or "\x00" in self.name:
            raise ValueError("a user id is neither empty nor holds a NUL character")

    @property
    def sources_realm(self) -> str:
        """The realm of the sources it may read."""
        return Realm.NEXTCLOUD if self.realm == Realm.NEXTCLOUD else Realm.LOCAL


EVERYBODY = Principal(Realm.EVERYBODY, "everybody")
"""As a reader: everybody who asks without a name."""

_COLLECTION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, order=True)
class Collection:
    """Sources without Nextcloud that have their readers in common."""

    name: str

    def __post_init__(self) -> None:
        if not _COLLECTION.fullmatch(self.name):
            raise ValueError("the name of a collection has 1 to 64 letters, digits, hyphens and underscores")

    @property
    def provider(self) -> str:
        """The provider of its sources."""
        return f"collection__{self.name}"

    @classmethod
    def of_provider(cls, provider: str) -> Collection | None:
        """The collection whose sources have this provider; None where it is of no collection."""
        kind, _, name = provider.partition("__")
        return cls(name) if kind == "collection" and _COLLECTION.fullmatch(name) else None

    @property
    def itself(self) -> Principal:
        """The collection as a reader of what lies in it."""
        return Principal(Realm.COLLECTION, self.name)


def collections_of(providers: Iterable[str]) -> list[Collection]:
    """The collections among `providers`."""
    return [found for provider in providers if (found := Collection.of_provider(provider)) is not None]


class KeyScope(StrEnum):
    """What a key may be used for."""

    CHAT = "chat"
    COMPLETION = "completion"
    """To go on with texts and code."""
    EMBEDDING = "embedding"
    INGEST = "ingest"
    ACT_AS = "act-as"
    """To ask for end users, whose tokens come with the questions."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a program, without the key itself."""

    id: str
    display: str
    """How it begins, for people."""
    client: str
    """Whose it is, in the words of who made it."""
    user: Principal | None
    """For whom it speaks; None: for its collections."""
    collections: tuple[Collection, ...]
    """What it is kept to; none: all its user may read."""
    scopes: frozenset[KeyScope]
    created_at: datetime
    active: bool = True
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    """Days are those of UTC."""
    notes: str = ""
    models: tuple[str, ...] = ()
    """Those it may name; empty: all."""

    @property
    def asker(self) -> Principal:
        """In whose name it asks."""
        if self.user is not None:
            return self.user
        return self.collections[0].itself if len(self.collections) == 1 else Principal(Realm.KEY, self.id)
