# SPDX-License-Identifier: AGPL-3.0-or-later
"""`conversations`: what is kept of a user's conversations, for whoever asks to see it or to have it deleted."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from context_chat_backend.cli.named import local_user
from context_chat_backend.cli.show import console
from context_chat_backend.cli.start import with_backend
from context_chat_backend.store.conversations import Owner
from context_chat_backend.web.conversation_wire import export
from context_chat_backend.wiring import Backend

conversations = typer.Typer(no_args_is_help=True, help="What is kept of a user's conversations.")

User = Annotated[str, typer.Option("--user", "-u", help="Whose: a local user.")]


@conversations.command("export")
def export_conversations(user: User) -> int:
    """Print all conversations of a user as JSON; what he may not read now is left out."""
    owner = Owner(local_user(user), None)

    async def work(backend: Backend) -> int:
        print(json.dumps(await export(backend, owner), ensure_ascii=False))
        return 0

    return with_backend(work)


@conversations.command("delete")
def delete_conversations(user: User) -> int:
    """Delete all conversations of a user."""
    owner = Owner(local_user(user), None)

    async def work(backend: Backend) -> int:
        count = await backend.conversations.delete_all(owner)
        console.print(f"{count} conversations of {user} are deleted.", markup=False)
        return 0

    return with_backend(work)
