# SPDX-License-Identifier: AGPL-3.0-or-later
"""`keys`: the keys by which programs ask."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from context_chat_backend.cli.named import collection_named, local_user
from context_chat_backend.cli.remote import AdminToken, AdminUrl, RemoteAdmin
from context_chat_backend.cli.show import console
from context_chat_backend.cli.start import with_backend
from context_chat_backend.domain import ApiKey, KeyScope
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.wiring import Backend
from context_chat_backend.wiring.key_making import CollectionMissing, KeyWanted

keys = typer.Typer(no_args_is_help=True, help="The keys by which programs ask.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@keys.command("add")
def add_key(
    client: Annotated[str, typer.Argument(help="Whose key it is, for you to tell them apart.")],
    user: Annotated[str | None, typer.Option("--user", "-u", help="It reads what this local user reads.")] = None,
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="It is kept to this collection; several times.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="chat (where none is named), embedding, ingest, act-as; several times."),
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=36500, help="It ends after so many days.")] = None,
    per_minute: Annotated[int | None, typer.Option("--per-minute", min=1, help="So many requests a minute.")] = None,
    per_day: Annotated[int | None, typer.Option("--per-day", min=1, help="So many requests a day.")] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option("--tokens-per-day", min=1, help="So many tokens a day, read and written.")
    ] = None,
    notes: Annotated[str, typer.Option("--notes", help="What you want to remember of it.")] = "",
    as_json: Json = False,
) -> int:
    """Make a key. It is shown once, and never again."""
    wanted = KeyWanted(
        client,
        user=None if user is None else local_user(user),
        collections=[collection_named(name) for name in dict.fromkeys(collection or [])],
        scopes=frozenset(_scope(name) for name in scope or [KeyScope.CHAT]),
        expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
        requests_per_minute=per_minute,
        requests_per_day=per_day,
        tokens_per_day=tokens_per_day,
        notes=notes,
    )

    async def work(backend: Backend) -> int:
        try:
            text, key = await backend.key_making.make(wanted)
        except CollectionMissing as missing:
            raise InvalidRequest(f"{missing}: context-chat collections add makes one") from None
        if as_json:
            print(json.dumps({"api_key": text} | _record(key), ensure_ascii=False))
        else:
            print(text)
            console.print("Keep it: it is not stored here, and not shown again.", markup=False)
        return 0

    return with_backend(work)


@keys.command("create")
def create_key(
    client: Annotated[str, typer.Argument(help="Whose key it is, for you to tell them apart.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="What it is kept to.")],
    notes: Annotated[str, typer.Option("--notes", help="What you want to remember of it.")] = "",
    as_json: Json = False,
    admin_url: AdminUrl = None,
    admin_token: AdminToken = None,
) -> int:
    """Make a key of one collection, for the chat server, here or elsewhere."""
    if admin_url is None:
        return add_key(client, collection=[collection], notes=notes, as_json=as_json)
    body = {"collection_name": collection, "client_name": client, "notes": notes}
    made = RemoteAdmin(admin_url, admin_token).ask("POST", "api-keys", body=body)
    print(json.dumps(made, ensure_ascii=False) if as_json else made["api_key"])
    return 0


@keys.command("test")
def look_at_key(
    key: Annotated[str, typer.Argument(help="The key, or its id.")],
    as_json: Json = False,
    admin_url: AdminUrl = None,
    admin_token: AdminToken = None,
) -> int:
    """Whether a key is there and may be used; the exit code is 1 where it is not."""

    def told(exists: bool, active: bool, collection: str | None) -> int:
        if as_json:
            print(json.dumps({"exists": exists, "active": active, "collection": collection}))
        elif not exists:
            console.print("There is no such key.")
        else:
            said = "It may be used" if active else "It may not be used any more"
            console.print(f"{said}; it is kept to {collection or 'nothing'}.", markup=False)
        return 0 if active else 1

    if admin_url is not None:
        found = RemoteAdmin(admin_url, admin_token).ask("GET", "api-keys", key, "status")
        return told(found["exists"], found["active"], found["collection"])

    async def work(backend: Backend) -> int:
        one = await backend.keys.one(key)
        if one is None:
            return told(False, False, None)
        holds = one.active and (one.expires_at is None or one.expires_at > datetime.now(UTC))
        return told(True, holds, ", ".join(collection.name for collection in one.collections) or None)

    return with_backend(work)


@keys.command("list")
def list_keys(as_json: Json = False, admin_url: AdminUrl = None, admin_token: AdminToken = None) -> int:
    """Which there are, by the first letters, whom they speak for, and when they were used last."""
    if admin_url is not None:
        listed = RemoteAdmin(admin_url, admin_token).ask("GET", "api-keys")
        for one in listed if not as_json else ():
            state = "" if one["active"] else "  revoked"
            console.print(f"{one['api_key']}  {one['client_name']}  ({one['id']}){state}", markup=False)
        if as_json:
            print(json.dumps(listed, ensure_ascii=False))
        return 0

    async def work(backend: Backend) -> int:
        found = await backend.keys.all()
        if as_json:
            print(json.dumps([_record(key) for key in found], ensure_ascii=False))
            return 0
        for key in found:
            console.print(f"{key.display}  {key.client}  ({key.id})", markup=False)
            console.print(f"    {'; '.join(_told(key))}", markup=False)
        return 0

    return with_backend(work)


@keys.command("deactivate")
@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key, or its id as `keys list` shows it.")],
    admin_url: AdminUrl = None,
    admin_token: AdminToken = None,
) -> int:
    """Let a key be used no more, from now on."""
    if admin_url is not None:
        RemoteAdmin(admin_url, admin_token).ask("POST", "api-keys", "deactivate", body={"api_key": key})
        console.print("It is revoked.")
        return 0

    async def work(backend: Backend) -> int:
        if not await backend.keys.revoke(key):
            raise InvalidRequest("there is no such key that may be used: context-chat keys list")
        console.print("It is revoked.")
        return 0

    return with_backend(work)


def _scope(name: str) -> KeyScope:
    try:
        return KeyScope(name)
    except ValueError:
        raise InvalidRequest(f"--scope: there is no '{name}'; there are: {', '.join(KeyScope)}") from None


def _record(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "display": key.display,
        "client": key.client,
        "user": None if key.user is None else key.user.name,
        "collections": [collection.name for collection in key.collections],
        "scopes": sorted(key.scopes),
        "active": key.active,
        "created_at": key.created_at.isoformat(),
        "last_used_at": None if key.last_used_at is None else key.last_used_at.isoformat(),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "requests_per_minute": key.requests_per_minute,
        "requests_per_day": key.requests_per_day,
        "tokens_per_day": key.tokens_per_day,
    }


def _told(key: ApiKey) -> list[str]:
    """What people read about a key."""
    told = [] if key.active else ["revoked"]
    if key.expires_at is not None:
        told.append(f"{'expired' if key.expires_at <= datetime.now(UTC) else 'ends'} {key.expires_at:%Y-%m-%d %H:%M}")
    if key.user is not None:
        told.append(f"speaks for {key.user.name}")
    if key.collections:
        told.append(f"kept to {', '.join(collection.name for collection in key.collections)}")
    told.append(f"for {', '.join(sorted(key.scopes))}")
    if key.requests_per_minute is not None:
        told.append(f"{key.requests_per_minute} requests a minute")
    if key.requests_per_day is not None:
        told.append(f"{key.requests_per_day} requests a day")
    if key.tokens_per_day is not None:
        told.append(f"{key.tokens_per_day} tokens a day")
    told.append("never used" if key.last_used_at is None else f"last used {key.last_used_at:%Y-%m-%d %H:%M}")
    return told
