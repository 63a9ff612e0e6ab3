# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys of programs. Of a key its SHA-256 is kept, which is enough: 32 random letters and digits are not guessed."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Collection as Some
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from context_chat_backend.domain import ApiKey, Collection, KeyScope, Principal, Realm
from context_chat_backend.store.database import Database, statement

_ALPHABET = string.ascii_letters + string.digits
_CHARACTERS = 32
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One use of a key."""

    key: ApiKey
    is_over_limit: bool
    """Whether the key was used more often in this minute than it may be."""
    is_used_up: bool
    """Whether it was used more often today, or for more tokens, than it may be."""
    seconds_left: float
    """Until the minute ends, or the day where that is used up."""
    used_in_minute: int = 0
    used_today: int = 0
    """Requests, with this one."""
    seconds_left_of_day: float = 0.0


class Keys:
    """The keys of all programs. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database, prefix: str = "api_") -> None:
        """New keys begin with `prefix`."""
        self._database = database
        self._prefix = prefix

    async def add(
        self,
        client: str,
        *,
        user: Principal | None,
        collections: Some[Collection],
        scopes: Some[KeyScope],
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        requests_per_day: int | None = None,
        tokens_per_day: int | None = None,
        notes: str = "",
        models: Some[str] = (),
    ) -> tuple[str, ApiKey]:
        """Make a key; returns the key itself, which nobody can tell afterwards, and what is known of it.

        It speaks for `user`, kept to `collections` where there are some; without a user, for its collections.
        """
        text, made = self._made()
        parameters = made | {
            "client": client,
            "user": None if user is None else user.name,
            "collections": [collection.name for collection in collections],
            "scopes": sorted(scopes),
            "expires_at": expires_at,
            "requests_per_minute": requests_per_minute,
            "requests_per_day": requests_per_day,
            "tokens_per_day": tokens_per_day,
            "notes": notes,
            "models": sorted(models),
        }
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("keys", "add"), parameters)).fetchone()
        assert row is not None
        return text, _key(*row)

    async def use(self, text: str) -> KeyUse | None:
        """The key `text`, and count this use; None when there is none, it was revoked, or it has expired."""
        rows = await self._database.rows(statement("keys", "use"), {"digest": _digest(text)})
        if not rows:
            return None
        *known, used, left_of_minute, used_today, tokens_today, left_of_day = rows[0]
        key = _key(*known)
        is_used_up = _is_over(key.requests_per_day, used_today) or _is_over(key.tokens_per_day, tokens_today + 1)
        is_over_limit = _is_over(key.requests_per_minute, used)
        left = left_of_day if is_used_up else left_of_minute
        return KeyUse(key, is_over_limit, is_used_up, left, used, used_today, left_of_day)

    async def holds(self, id_: str) -> bool:
        """Whether the key of this id may be used now; that is not counted as a use."""
        return bool(await self._database.rows(statement("keys", "holds"), {"id": id_}))

    async def all(self) -> list[ApiKey]:
        """Every key, the newest first."""
        return (await self.page())[0]

    async def page(
        self,
        *,
        limit: int | None = None,
        offset: int = 0,
        active_only: bool = False,
        collection: str | None = None,
    ) -> tuple[list[ApiKey], int]:
        """Keys, the newest first, and how many there are in all; with `collection`, those that are kept to it."""
        parameters = {"limit": limit, "offset": offset, "active_only": active_only, "collection": collection}
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(statement("keys", "all"), parameters)).fetchall()
            if not rows and offset:
                none = parameters | {"limit": 1, "offset": 0}
                first = await (await connection.execute(statement("keys", "all"), none)).fetchone()
                return [], 0 if first is None else first[-1]
        return [_key(*row[:-1]) for row in rows], rows[0][-1] if rows else 0

    async def one(self, named: str) -> ApiKey | None:
        """A key, by itself or by its id, whether it holds or not; None when there is none."""
        parameters = {"named": named, "digest": _digest(named)}
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("keys", "one"), parameters)).fetchone()
        return None if row is None else _key(*row)

    async def rotate(self, id_: str, grace_seconds: float = 0) -> tuple[str, ApiKey] | None:
        """A new key in the place of one that holds, which ends after `grace_seconds`; None when there is none."""
        text, made = self._made()
        async with self._database.transaction() as connection:
            parameters = made | {"id": id_, "grace_seconds": grace_seconds}
            row = await (await connection.execute(statement("keys", "rotate"), parameters)).fetchone()
        return None if row is None else (text, _key(*row))

    async def delete(self, id_: str) -> bool:
        """Forget a key; False when there is none of this id."""
        async with self._database.transaction() as connection:
            return (await connection.execute(statement("keys", "delete"), {"id": id_})).rowcount > 0

    async def revoke(self, named: str) -> bool:
        """Let a key, by itself or by its id, be used no more; False when there is no such key that holds."""
        parameters = {"named": named, "digest": _digest(named)}
        async with self._database.transaction() as connection:
            return (await connection.execute(statement("keys", "revoke"), parameters)).rowcount > 0

    def _made(self) -> tuple[str, dict[str, Any]]:
        """A new key, and what is kept of it."""
        text = self._prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_CHARACTERS))
        return text, {"digest": _digest(text), "display": f"{text[:_SHOWN]}***"}


def _is_over(limit: int | None, used: int) -> bool:
    return limit is not None and used > limit


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _key(
    id_: str, display: str, client: str, user: str | None, collections: list[str], scopes: list[str], *rest: Any
) -> ApiKey:
    created_at, active, last_used_at, expires_at, *limits, notes, models = rest
    requests_per_minute, requests_per_day, tokens_per_day = limits
    return ApiKey(
        id_,
        display,
        client,
        None if user is None else Principal(Realm.LOCAL, user),
        tuple(Collection(name) for name in collections),
        frozenset(KeyScope(scope) for scope in scopes),
        created_at,
        active,
        last_used_at,
        expires_at,
        requests_per_minute,
        requests_per_day,
        tokens_per_day,
        notes,
        tuple(models),
    )
