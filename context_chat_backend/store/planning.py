# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations about plans: kept beside those of questions and answers, with the state a plan goes on from.

The owner stands in every statement, and row-level security looks once more. One message of a conversation is answered
at a time: who answers holds a lease on its row, which ends by itself when he is gone.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from context_chat_backend.domain import SourceRef
from context_chat_backend.errors import ContextChatError
from context_chat_backend.store.conversations import MAX_TITLE_CHARACTERS, Conversation, Owner
from context_chat_backend.store.database import Database, statement

_LOOK_SECONDS = 0.05


class ConversationGone(ContextChatError):
    """The owner has no such conversation (any more)."""


class ConversationBusy(ContextChatError):
    """Another message of it is being answered."""


@dataclass(frozen=True, slots=True)
class PlanMessage:
    """A message as its owner sees it."""

    id: uuid.UUID
    role: str
    text: str | None
    """None: hidden, because it was written from a source he may not read now."""
    created_at: datetime
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to answer the next message of a conversation."""

    conversation: uuid.UUID
    holder: uuid.UUID
    state: dict[str, Any]
    """What was known when it began."""


class Planning:
    """Conversations about plans. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, owner: Owner, title: str = "") -> Conversation:
        """A new conversation."""
        (row,) = await self._rows(owner, "begin", title=title)
        return Conversation(*row)

    async def all(self, owner: Owner, *, limit: int, before: uuid.UUID | None = None) -> list[Conversation]:
        """At most `limit` conversations, the latest first; with `before`, those that follow it."""
        rows = await self._rows(owner, "all", limit=limit, before=before)
        return [Conversation(*row) for row in rows]

    async def one(self, owner: Owner, id_: uuid.UUID) -> Conversation:
        """A conversation. Raises ConversationGone."""
        return Conversation(*_only(await self._rows(owner, "one", id=id_)))

    async def messages(self, owner: Owner, id_: uuid.UUID) -> list[PlanMessage]:
        """Its messages, oldest first; none when the owner has no such conversation."""
        return [PlanMessage(*row) for row in await self._rows(owner, "messages", id=id_)]

    async def hold(self, owner: Owner, id_: uuid.UUID, *, patience: float, lease: float) -> Turn:
        """Take the turn, after at most `patience` seconds of waiting, for at most `lease` seconds.

        Raises ConversationGone, ConversationBusy.
        """
        holder, until = uuid.uuid4(), time.monotonic() + patience
        while True:
            rows = await self._rows(owner, "hold", id=id_, holder=holder, seconds=lease)
            if rows:
                return Turn(id_, holder, rows[0][0])
            await self.one(owner, id_)
            if time.monotonic() >= until:
                raise ConversationBusy("another message of this conversation is being answered: try again")
            await asyncio.sleep(_LOOK_SECONDS)

    async def release(self, owner: Owner, turn: Turn) -> None:
        """Give the turn back without an answer; nothing where it is another's by now."""
        await self._rows(owner, "release", id=turn.conversation, holder=turn.holder, fetched=False)

    async def add(
        self,
        owner: Owner,
        turn: Turn,
        question: str,
        answer: str,
        *,
        metadata: dict[str, Any],
        state: dict[str, Any],
        refs: Collection[SourceRef] = (),
    ) -> uuid.UUID:
        """Put a message and its answer at the end, and end the turn; returns the id of the answer.

        Text of the sources `refs` may stand in the answer. Raises ConversationGone, also where the turn took too long.
        """
        message_id = uuid.uuid4()
        rows = await self._rows(
            owner,
            "add",
            id=turn.conversation,
            holder=turn.holder,
            title=" ".join(question.split())[:MAX_TITLE_CHARACTERS],
            question=question,
            answer=answer,
            message_id=message_id,
            metadata=Jsonb(metadata),
            state=Jsonb(state),
            sources_realm=owner.asker.sources_realm,
            refs=[str(ref) for ref in refs],
        )
        _only(rows)
        return message_id

    async def rename(self, owner: Owner, id_: uuid.UUID, title: str) -> Conversation:
        """Give it another title. Raises ConversationGone."""
        return Conversation(*_only(await self._rows(owner, "rename", id=id_, title=title)))

    async def delete(self, owner: Owner, id_: uuid.UUID) -> None:
        """Delete it with its messages. Raises ConversationGone."""
        _only(await self._rows(owner, "delete", id=id_))

    async def _rows(
        self, owner: Owner, name: str, *, fetched: bool = True, **parameters: Any
    ) -> Sequence[tuple[Any, ...]]:
        owned = {"realm": owner.asker.realm, "name": owner.asker.name, "key": owner.key or ""}
        async with self._database.reading_as(owner.asker) as connection:
            cursor = await connection.execute(statement("planning", name), owned | parameters)
            return await cursor.fetchall() if fetched else []


def _only(rows: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    if not rows:
        raise ConversationGone("there is no such conversation of yours")
    return rows[0]
