# SPDX-License-Identifier: AGPL-3.0-or-later
"""The companion app deletes sources and changes who may read them (contract push-4x 2.3 and, for the beta, 4).

All of it may be repeated. The companion takes a 4xx for done and forgets the action, so that only what can never
succeed answers 400; whatever may succeed later answers 5xx.
"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from context_chat_backend.domain import FILES, Realm, SourceRef, is_provider_key
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.exapp.access_bodies import UpdateAccess, UpdateAccessDeclarative, UpdateAccessProvider, UserId
from context_chat_backend.exapp.authentication import NextcloudRoute
from context_chat_backend.exapp.deliveries import readers_from, source_ref, source_refs
from context_chat_backend.exapp.readiness import Enabled
from context_chat_backend.exapp.wire import Text

_NC = Realm.NEXTCLOUD
router = APIRouter(route_class=NextcloudRoute)


class DeleteSources(BaseModel):
    """Since 4.0.0 by id for everybody; in the beta by name for one user."""

    sourceIds: list[Text] | None = None  # noqa: N815 - names of the wire
    sourceNames: list[Text] | None = None  # noqa: N815
    userId: Text | None = None  # noqa: N815


class ProviderKey(BaseModel):
    """A provider."""

    providerKey: Text  # noqa: N815


class ProviderKeyOfUser(ProviderKey):
    """A provider and the user it is taken from."""

    userId: Text  # noqa: N815


@router.post("/deleteSources")
async def delete_sources(body: DeleteSources, backend: Enabled) -> dict[str, str]:
    """Delete sources; ids that are unknown or have no valid form are passed over."""
    if body.sourceIds is not None:
        if refs := _refs(body.sourceIds):
            await backend.actions.delete_sources(_NC, refs)
    else:
        refs = _refs(body.sourceNames or [])
        readers = readers_from([body.userId or ""])
        if refs:
            await backend.actions.deny(_NC, refs, readers)
    return {"message": "sources deleted"}


@router.post("/deleteProvider")
@router.post("/deleteSourcesByProviderForAllUsers")
async def delete_provider(body: ProviderKey, backend: Enabled) -> dict[str, str]:
    """Delete all sources of a provider."""
    if (provider := _known_form(body.providerKey)) is not None:
        await backend.actions.delete_provider(_NC, provider)
    return {"message": "sources of the provider deleted"}


@router.post("/deleteSourcesByProvider")
async def delete_sources_by_provider(body: ProviderKeyOfUser, backend: Enabled) -> dict[str, str]:
    """Beta: take a provider from one user."""
    readers = readers_from([body.userId])
    if (provider := _known_form(body.providerKey)) is not None:
        await backend.actions.deny(_NC, provider, readers)
    return {"message": "sources of the provider deleted for the user"}


@router.post("/deleteUser")
async def delete_user(body: UserId, backend: Enabled) -> dict[str, str]:
    """Forget a user, and what only he could read."""
    (user,) = readers_from([body.userId])
    await backend.actions.delete_user(user)
    return {"message": "user deleted"}


@router.post("/updateAccess")
async def update_access(body: UpdateAccess, backend: Enabled) -> dict[str, str]:
    """Grant or revoke one source."""
    change = backend.actions.allow if body.op == "allow" else backend.actions.deny
    await change(_NC, [source_ref(body.sourceId)], readers_from(body.userIds))
    return {"message": "access updated"}


@router.post("/updateAccessProvider")
async def update_access_provider(body: UpdateAccessProvider, backend: Enabled) -> dict[str, str]:
    """Grant or revoke all sources of a provider."""
    provider = body.providerId.strip()
    if not is_provider_key(provider):
        raise InvalidRequest(f"providerId: expected a provider key, for example '{FILES}'")
    change = backend.actions.allow if body.op == "allow" else backend.actions.deny
    await change(_NC, provider, readers_from(body.userIds))
    return {"message": "access updated"}


@router.post("/updateAccessDeclarative")
async def update_access_declarative(body: UpdateAccessDeclarative, backend: Enabled) -> dict[str, str]:
    """Replace the readers of one source."""
    await backend.actions.replace(_NC, [source_ref(body.sourceId)], readers_from(body.userIds))
    return {"message": "access updated"}


def _refs(named: list[str]) -> list[SourceRef]:
    if not any(text.strip() for text in named):
        raise InvalidRequest("sourceIds: expected at least one source id")
    return source_refs(named)


def _known_form(text: str) -> str | None:
    """A provider's key. When an app is disabled the companion sends its id alone: no error, it names nothing."""
    key = text.strip()
    if not key:
        raise InvalidRequest(f"providerKey: expected a provider key, for example '{FILES}'")
    return key if is_provider_key(key) else None
