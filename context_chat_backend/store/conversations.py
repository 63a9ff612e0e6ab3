# SPDX-License-Identifier: AGPL-3.0-or-later
"""What users asked and were answered. The owner stands in every statement, and row-level security looks once more.

A message keeps the ids of all sources whose text may stand in it. It is given while its owner may read each of them,
and erased with the first that is deleted (store/access.py): docs/decisions/conversations.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from context_chat_backend.domain import Message, Principal, SourceRef
from context_chat_backend.store.database import Database, statement

MAX_TITLE_CHARACTERS = 80
_RECENT = 60
"""More messages are not looked at for an answer."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversations are meant."""

    asker: Principal
    """By whose rights they are read."""
    key: str | None
    """The id of a key that is kept to some collections, whose conversations are its own; '': of no such key; None: all
    of the asker, for administrators."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its messages."""

    id: uuid.UUID
    title: str
    """What the first question begins with, where nobody gave another."""
    messages: int
    """How many there were, with those that are gone."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message as its owner sees it."""

    role: str
    """'user' or 'assistant'."""
    text: str | None
    """None: hidden, because it was written from a source he may not read now."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Remembered:
    """Messages, or what they were about, with the sources their text may come from."""

    text: str
    role: str
    until: int
    """The number of the last message, from 1."""
    sources: tuple[int, ...]
    """Ids of the store."""

    @property
    def message(self) -> Message:
        """As a language model reads it."""
        return Message(self.role, self.text)


@dataclass(frozen=True, slots=True)
class History:
    """What of a conversation may be used for its next answer."""

    summary: Remembered | None
    messages: tuple[Remembered, ...]
    """Those after the summary, oldest first."""


class Conversations:
    """The conversations of all users. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, owner: Owner, title: str = "") -> Conversation:
        """A new conversation, of a key or of none."""
        parameters = _owned(owner) | {"key": owner.key or "", "title": title[:MAX_TITLE_CHARACTERS]}
        (row,) = await self._rows(owner, "begin", parameters)
        return Conversation(*row)

    async def ensure(self, owner: Owner, id_: uuid.UUID) -> None:
        """A conversation of this id, which is the owner's own: a new one where there is none."""
        await self._rows(owner, "ensure", _owned(owner) | {"id": id_, "key": owner.key or ""})

    async def all(self, owner: Owner, *, limit: int, after: uuid.UUID | None = None) -> list[Conversation]:
        """At most `limit` conversations, the latest first; with `after`, those that follow it."""
        rows = await self._rows(owner, "all", _owned(owner) | {"limit": limit, "after": after})
        return [Conversation(*row) for row in rows]

    async def one(self, owner: Owner, id_: uuid.UUID) -> Conversation | None:
        """A conversation; None when the owner has none of this id."""
        rows = await self._rows(owner, "one", _owned(owner) | {"id": id_})
        return Conversation(*rows[0]) if rows else None

    async def messages(self, owner: Owner, id_: uuid.UUID) -> list[KeptMessage]:
        """The messages of a conversation, oldest first; none when the owner has none of this id."""
        rows = await self._rows(owner, "messages", _owned(owner) | {"id": id_})
        return [KeptMessage(*row) for row in rows]

    async def history(self, owner: Owner, id_: uuid.UUID) -> History:
        """The latest messages, and what those before were about, as far as the owner may read all their sources."""
        parameters = _owned(owner) | {"id": id_, "limit": _RECENT}
        summaries = await self._rows(owner, "summary", parameters)
        summary: Remembered | None = None
        if summaries and summaries[0][1]:
            text, until, sources = summaries[0]
            summary = Remembered(text, "assistant", until, tuple(sources))
        first = 0 if summary is None else summary.until
        rows = await self._rows(owner, "recent", parameters)
        said = [Remembered(text, role, seq, tuple(sources)) for seq, role, text, sources in reversed(rows)]
        return History(summary, tuple(message for message in said if message.until > first))

    async def add(
        self,
        owner: Owner,
        id_: uuid.UUID,
        question: str,
        answer: str,
        *,
        refs: Collection[SourceRef],
        inherited: Collection[int],
    ) -> None:
        """Put a question and its answer at the end; nothing happens when the owner has no such conversation (any more).

        Text of the sources `refs`, and of those with the ids `inherited`, may stand in the answer.
        """
        parameters = _owned(owner) | {
            "id": id_,
            "title": " ".join(question.split())[:MAX_TITLE_CHARACTERS],
            "question": question,
            "answer": answer,
            "sources_realm": owner.asker.sources_realm,
            "refs": [str(ref) for ref in refs],
            "inherited": list(inherited),
        }
        await self._rows(owner, "add", parameters)

    async def sum_up(self, owner: Owner, id_: uuid.UUID, summary: Remembered) -> None:
        """Keep what the messages up to `summary.until` were about."""
        parameters = {"id": id_, "summary": summary.text, "until": summary.until, "sources": list(summary.sources)}
        await self._rows(owner, "sum_up", _owned(owner) | parameters)

    async def delete(self, owner: Owner, id_: uuid.UUID) -> bool:
        """Delete a conversation; False when the owner has none of this id."""
        return bool(await self._rows(owner, "delete", _owned(owner) | {"id": id_}))

    async def delete_all(self, owner: Owner) -> int:
        """Delete every conversation of the owner; returns how many there were."""
        return len(await self._rows(owner, "delete", _owned(owner) | {"id": None}))

    async def _rows(self, owner: Owner, name: str, parameters: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
        async with self._database.reading_as(owner.asker) as connection:
            return await (await connection.execute(statement("conversations", name), parameters)).fetchall()


def _owned(owner: Owner) -> dict[str, Any]:
    return {"realm": owner.asker.realm, "name": owner.asker.name, "key": owner.key}
