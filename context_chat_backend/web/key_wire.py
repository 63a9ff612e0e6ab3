# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys of programs as administrators ask for them and read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from context_chat_backend.domain import ApiKey, KeyScope
from context_chat_backend.web.chat_wire import Text

_NAME = r"^[A-Za-z0-9_-]{1,64}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
"""The name of a collection, as it may stand in a path."""


class NewKey(BaseModel):
    """The body of POST /admin/api-keys."""

    model_config = ConfigDict(json_schema_extra={"example": {"collection_name": "town", "client_name": "Town site"}})

    collection_name: Name | None = None
    client_name: Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    notes: Annotated[Text, Field(max_length=4000)] = ""
    scopes: list[KeyScope] = Field(default_factory=lambda: [KeyScope.CHAT], min_length=1)
    expires_at: AwareDatetime | None = None
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    daily_limit: Annotated[int, Field(ge=1, le=10**9)] | None = None
    models: Annotated[list[Text], Field(max_length=100)] = Field(default_factory=list)


class NamedKey(BaseModel):
    """The body of POST /admin/api-keys/deactivate."""

    api_key: Text


class Rotation(BaseModel):
    """The body of POST /admin/api-keys/{key_id}/rotate."""

    grace_seconds: Annotated[float, Field(ge=0, le=30 * 24 * 3600)] = 0


def made(text: str, key: ApiKey) -> dict[str, Any]:
    """A new key: itself, and what is known of it."""
    known = described(key)
    names = ("id", "client_name", "collection", "notes", "created_at", "active", "scopes", "expires_at")
    return {"api_key": text} | {name: known[name] for name in names}


def described(key: ApiKey) -> dict[str, Any]:
    """A key by how it begins."""
    collection = key.collections[0].name if key.collections else None
    return {
        "_id": key.id,
        "id": key.id,
        "api_key": key.display,
        "collection": collection,
        "collection_name": collection,
        "client_name": key.client,
        "notes": key.notes,
        "active": key.active,
        "created_at": _seconds(key.created_at),
        "last_used_at": _seconds(key.last_used_at),
        "expires_at": _seconds(key.expires_at),
        "scopes": sorted(key.scopes),
    }


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
