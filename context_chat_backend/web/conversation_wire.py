# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations as programs read them."""

from __future__ import annotations

from typing import Any

from context_chat_backend.store.conversations import Conversation, KeptMessage, Owner
from context_chat_backend.wiring import Backend

MAX_PAGE = 200
"""Conversations that are told at once."""


def described(conversation: Conversation) -> dict[str, Any]:
    """A conversation as JSON."""
    return {
        "id": f"conv_{conversation.id.hex}",
        "object": "conversation",
        "title": conversation.title,
        "messages": conversation.messages,
        "created_at": int(conversation.created_at.timestamp()),
        "updated_at": int(conversation.updated_at.timestamp()),
    }


async def export(backend: Backend, owner: Owner) -> list[dict[str, Any]]:
    """Every conversation of an owner with its messages."""
    told: list[dict[str, Any]] = []
    page: list[Conversation] = []
    while page or not told:
        page = await backend.conversations.all(owner, limit=MAX_PAGE, after=page[-1].id if page else None)
        told += [whole(one, await backend.conversations.messages(owner, one.id)) for one in page]
        if len(page) < MAX_PAGE:
            break
    return told


def whole(conversation: Conversation, messages: list[KeptMessage]) -> dict[str, Any]:
    """With its messages; of a hidden one the text is null."""
    return described(conversation) | {"messages": said_in(messages)}


def said_in(messages: list[KeptMessage]) -> list[dict[str, Any]]:
    """The messages of a conversation as JSON."""
    return [
        {
            "role": message.role,
            "content": message.text,
            "hidden": message.text is None,
            "created_at": int(message.created_at.timestamp()),
        }
        for message in messages
    ]
