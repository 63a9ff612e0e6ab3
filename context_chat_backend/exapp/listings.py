# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows of the companion's queues become deliveries and actions (contract pull-5x 3 and 7), each judged on its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from context_chat_backend.domain import FILES, Delivery, Realm, SourceRef, clean_title, is_provider_key
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.exapp.access_bodies import UpdateAccess, UpdateAccessDeclarative, UpdateAccessProvider, UserId
from context_chat_backend.exapp.deliveries import readers_from, source_ref, source_refs
from context_chat_backend.exapp.wire import Text
from context_chat_backend.indexing.numbered_action import Action, Kind
from context_chat_backend.store.queued import LeasedRow

_MAX_MEDIA_TYPE = 255
_Model = TypeVar("_Model", bound=BaseModel)


def _without_nul(text: str) -> str:
    return text.replace("\x00", " ")  # PostgreSQL takes none


_Text = Annotated[Text, AfterValidator(_without_nul)]


class _Document(BaseModel):
    userIds: list[_Text]  # noqa: N815 - names of the wire
    reference: _Text
    title: _Text = ""
    content: Text | None = None
    modified: int
    type: _Text
    provider: _Text
    size: Annotated[float, Field(allow_inf_nan=False, lt=2.0**62)] | None = None


class _Sources(BaseModel):
    sourceIds: list[_Text]  # noqa: N815


class _Provider(BaseModel):
    providerId: _Text  # noqa: N815


class _Action(BaseModel):
    type: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A delivery with the content that came in the list; that of files is fetched later."""

    delivery: Delivery
    body: bytes
    size: int


def listed(row: LeasedRow) -> Listed:
    """The delivery in a row of documents. Raises InvalidRequest naming the member that is wrong."""
    document = _read(_Document, row.payload)
    try:
        ref = SourceRef.parse(document.reference)
    except ValueError as error:
        raise InvalidRequest(f"reference: {error}") from None
    if document.provider.strip() != ref.provider:
        raise InvalidRequest("provider: expected the provider of the source id")
    remote = row.queue == "files"
    if remote != (ref.provider == FILES) or (remote and not (ref.item.isascii() and ref.item.isdigit())):
        raise InvalidRequest(f"reference: expected a source id that belongs into the queue {row.queue}")
    body = b"" if remote else (document.content or "").strip().encode()
    delivery = Delivery(
        realm=Realm.NEXTCLOUD,
        ref=ref,
        title=clean_title(document.title),
        media_type=document.type.strip()[:_MAX_MEDIA_TYPE],
        modified_at=_moment(document.modified),
        readers=readers_from(document.userIds),
        adds_readers=not remote,
        readers_since=row.readers_since,
        remote=remote,
    )
    return Listed(delivery, body, max(0, int(document.size or 0)) if remote else len(body))


def action(row: LeasedRow) -> Action | None:
    """The action in a row; None for one that names nothing. Raises InvalidRequest naming what is wrong."""
    read = _read(_Action, row.payload)
    match read.type:
        case "delete_source_ids":
            named = source_refs(_read(_Sources, read.payload).sourceIds)
            return Action(row.id, Kind.DELETE, tuple(dict.fromkeys(named))) if named else None
        case "delete_provider_id":
            provider = _read(_Provider, read.payload).providerId.strip()
            # When an app is disabled its id comes without the app's: it names nothing (trap 6).
            return Action(row.id, Kind.DELETE, provider) if is_provider_key(provider) else None
        case "delete_user_id":
            return Action(row.id, Kind.DELETE_USER, readers=readers_from([_read(UserId, read.payload).userId]))
        case "update_access_source_id":
            access = _read(UpdateAccess, read.payload)
            return Action(row.id, Kind(access.op), (source_ref(access.sourceId),), readers_from(access.userIds))
        case "update_access_provider_id":
            wide = _read(UpdateAccessProvider, read.payload)
            provider = wide.providerId.strip()
            readers = readers_from(wide.userIds)
            return Action(row.id, Kind(wide.op), provider, readers) if is_provider_key(provider) else None
        case "update_access_decl_source_id":
            declared = _read(UpdateAccessDeclarative, read.payload)
            return Action(row.id, Kind.REPLACE, (source_ref(declared.sourceId),), readers_from(declared.userIds))
    raise InvalidRequest("type: there is no such action")


def _read(model: type[_Model], payload: object) -> _Model:
    adapter = TypeAdapter(model)
    try:
        return adapter.validate_json(payload) if isinstance(payload, str) else adapter.validate_python(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "entry"
        raise InvalidRequest(f"{where}: {first['type']}") from None


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest("modified: expected seconds since 1970") from None
