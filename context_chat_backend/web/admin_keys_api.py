# SPDX-License-Identifier: AGPL-3.0-or-later
"""Administrators make, list, check, replace and end the keys of programs: /admin/api-keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from context_chat_backend.domain import ApiKey, Collection, KeyScope
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.web.chat_route import AdminRoute
from context_chat_backend.web.chat_wire import Text
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import Ready
from context_chat_backend.wiring.key_making import CollectionMissing, KeyWanted

router = APIRouter(route_class=AdminRoute)

_NAME = r"^[A-Za-z0-9_-]{1,64}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]


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


@router.post("/admin/api-keys")
async def make(body: NewKey, backend: Ready) -> dict[str, Any]:
    """A new key: it is shown here, and never again."""
    wanted = KeyWanted(
        body.client_name,
        collections=() if body.collection_name is None else (Collection(body.collection_name),),
        scopes=frozenset(body.scopes),
        expires_at=body.expires_at,
        requests_per_minute=body.rate_limit_per_minute,
        requests_per_day=body.daily_limit,
        notes=body.notes,
        models=body.models,
    )
    try:
        return _made(*await backend.key_making.make(wanted))
    except CollectionMissing as missing:
        raise ApiError(404, "collection_not_found", str(missing), param="collection_name") from None
    except InvalidRequest:
        said = "collection_name: a key with the scope chat needs one"
        raise ApiError(422, "validation_error", said, param="collection_name") from None


@router.get("/admin/api-keys")
async def listed(
    response: Response,
    backend: Ready,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
    active_only: bool = False,
    collection: str | None = None,
) -> list[dict[str, Any]]:
    """The keys by how they begin, the newest first; how many there are in all stands in X-Total-Count."""
    found, total = await backend.keys.page(limit=limit, offset=offset, active_only=active_only, collection=collection)
    response.headers["X-Total-Count"] = str(total)
    return [_described(key) for key in found]


@router.get("/admin/api-keys/{api_key}/status")
async def status(api_key: Text, backend: Ready) -> dict[str, Any]:
    """Whether a key, by itself or by its id, is there and may be used."""
    key = await backend.keys.one(api_key)
    if key is None:
        return {"exists": False, "active": False, "collection": None, "message": "API key does not exist"}
    known = _described(key)
    return {"exists": True} | {name: known[name] for name in ("active", "collection", "client_name", "created_at")}


@router.post("/admin/api-keys/deactivate")
async def deactivate(body: NamedKey, backend: Ready) -> dict[str, str]:
    """Let a key, by itself or by its id, be used no more."""
    if not await backend.keys.revoke(body.api_key) and await backend.keys.one(body.api_key) is None:
        raise _not_found()
    return {"status": "success", "message": "API key deactivated"}


@router.post("/admin/api-keys/{key_id}/rotate")
async def rotate(key_id: Text, backend: Ready, body: Rotation | None = None) -> dict[str, Any]:
    """A new key in the place of one that may be used, which ends at once, or after `grace_seconds`."""
    made = await backend.key_making.rotate(key_id, body.grace_seconds if body else 0)
    if made is None:
        raise _not_found()
    return _made(*made)


@router.delete("/admin/api-keys/{key_id}", status_code=204, response_class=Response)
async def delete(key_id: Text, backend: Ready) -> None:
    """Forget a key, by its id."""
    if not await backend.keys.delete(key_id):
        raise _not_found()


def _made(text: str, key: ApiKey) -> dict[str, Any]:
    known = _described(key)
    names = ("id", "client_name", "collection", "notes", "created_at", "active", "scopes", "expires_at")
    return {"api_key": text} | {name: known[name] for name in names}


def _described(key: ApiKey) -> dict[str, Any]:
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


def _not_found() -> ApiError:
    return ApiError(404, "api_key_not_found", "there is no such key")
