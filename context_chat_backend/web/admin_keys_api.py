# SPDX-License-Identifier: AGPL-3.0-or-later
"""Administrators make, list, check, replace and end the keys of programs: /admin/api-keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from context_chat_backend.domain import Collection
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.web.chat_route import AdminRoute
from context_chat_backend.web.chat_wire import Text
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.key_wire import NamedKey, NewKey, Rotation, described, made
from context_chat_backend.web.program_route import Ready
from context_chat_backend.wiring.key_making import CollectionMissing, KeyWanted

router = APIRouter(route_class=AdminRoute)


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
        return made(*await backend.key_making.make(wanted))
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
    return [described(key) for key in found]


@router.get("/admin/api-keys/{api_key}/status")
async def status(api_key: Text, backend: Ready) -> dict[str, Any]:
    """Whether a key, by itself or by its id, is there and may be used."""
    key = await backend.keys.one(api_key)
    if key is None:
        return {"exists": False, "active": False, "collection": None, "message": "API key does not exist"}
    known = described(key)
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
    rotated = await backend.key_making.rotate(key_id, body.grace_seconds if body else 0)
    if rotated is None:
        raise _not_found()
    return made(*rotated)


@router.delete("/admin/api-keys/{key_id}", status_code=204, response_class=Response)
async def delete(key_id: Text, backend: Ready) -> None:
    """Forget a key, by its id."""
    if not await backend.keys.delete(key_id):
        raise _not_found()


def _not_found() -> ApiError:
    return ApiError(404, "api_key_not_found", "there is no such key")
