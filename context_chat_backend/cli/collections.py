# SPDX-License-Identifier: AGPL-3.0-or-later
"""`collections`: who reads which sources that were put in without Nextcloud."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from context_chat_backend.cli.named import collection_named, local_user, user_of_issuer
from context_chat_backend.cli.show import console
from context_chat_backend.cli.start import with_backend
from context_chat_backend.domain import EVERYBODY, Collection, Principal
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.wiring import Backend

collections = typer.Typer(no_args_is_help=True, help="Collections of sources without Nextcloud, and their readers.")

Name = Annotated[str, typer.Argument(help="The collection.")]
Change = Callable[[Collection, Sequence[Principal]], Awaitable[None]]
Users = Annotated[list[str] | None, typer.Argument(help="Local users.")]
Everybody = Annotated[bool, typer.Option("--everybody", help="Who asks without a name.")]
OfIssuer = Annotated[str | None, typer.Option("--issuer", help="The users are those of this issuer of tokens.")]


@collections.command("add")
def add_collection(name: Name) -> int:
    """Make a collection, to put sources into by `index --collection` or POST /v1/documents."""
    collection = collection_named(name)

    async def work(backend: Backend) -> int:
        await backend.collections.ensure(collection)
        console.print(f"The collection {name} is there.", markup=False)
        return 0

    return with_backend(work)


@collections.command("list")
def list_collections(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False) -> int:
    """Which there are, who reads them, and how many of their sources answer."""

    async def work(backend: Backend) -> int:
        found = await backend.collections.all()
        if as_json:
            print(
                json.dumps(
                    [{name: asdict(one)[name] for name in ("name", "readers", "sources", "title")} for one in found]
                )
            )
            return 0
        for one in found:
            readers = ", ".join(one.readers) or "its keys alone"
            console.print(f"{one.name}: {one.sources} sources, read by {readers}", markup=False)
        return 0

    return with_backend(work)


@collections.command("allow")
def allow_readers(name: Name, users: Users = None, everybody: Everybody = False, issuer: OfIssuer = None) -> int:
    """Let users read all that is and will be in a collection."""
    return _change(name, _readers(users, everybody, issuer), lambda backend: backend.collections.allow, "may read")


@collections.command("deny")
def deny_readers(name: Name, users: Users = None, everybody: Everybody = False, issuer: OfIssuer = None) -> int:
    """Take a collection from users; from the next question on they get nothing of it."""
    return _change(
        name, _readers(users, everybody, issuer), lambda backend: backend.collections.deny, "may no longer read"
    )


def _readers(users: list[str] | None, everybody: bool, issuer: str | None) -> list[Principal]:
    named = [local_user(user) if issuer is None else user_of_issuer(user, issuer) for user in users or []]
    if not named and not everybody:
        raise InvalidRequest("USERS: name some, or --everybody")
    return named + ([EVERYBODY] if everybody else [])


def _change(name: str, readers: list[Principal], change: Callable[[Backend], Change], said: str) -> int:
    collection = collection_named(name)

    async def work(backend: Backend) -> int:
        if not await backend.collections.known([collection]):
            raise InvalidRequest(f"there is no collection {name}: context-chat collections list")
        await change(backend)(collection, readers)
        console.print(f"{', '.join(reader.name for reader in readers)} {said} {name}.", markup=False)
        return 0

    return with_backend(work)
