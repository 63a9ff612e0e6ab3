# SPDX-License-Identifier: AGPL-3.0-or-later
"""The headers of one part of /loadSources become a delivery (contract push-4x 2.2 and, for `userId`, 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from context_chat_backend.domain import FILES, Delivery, Principal, Realm, SourceRef, clean_title
from context_chat_backend.errors import InvalidRequest

_MAX_USER_ID = 255
_MAX_MEDIA_TYPE = 255


def delivery_from(filename: str | None, headers: Mapping[str, str], received_at: datetime) -> Delivery:
    """The delivery these headers describe, `received_at` then (see Delivery).

    Raises InvalidRequest naming the header that is wrong.
    """
    try:
        ref = SourceRef.parse(filename or "")
    except ValueError as error:
        raise InvalidRequest(f"filename: {error}") from None
    if headers.get("provider", "").strip() != ref.provider:
        raise InvalidRequest("provider: expected the provider of the source id")
    media_type = headers.get("type", "").strip()
    if "\x00" in media_type:
        raise InvalidRequest("type: it holds a NUL character")
    beta = is_beta(headers)
    return Delivery(
        realm=Realm.NEXTCLOUD,
        ref=ref,
        title=clean_title(headers.get("title", "")),
        media_type=media_type[:_MAX_MEDIA_TYPE],
        modified_at=_modified(headers.get("modified", "")),
        readers=readers_from([headers["userid"]] if beta else headers.get("userids", "").split(",")),
        # A delivery of the beta names one reader of several; content of apps is delivered again without its others.
        adds_readers=beta or ref.provider != FILES,
        received_at=received_at,
    )


def is_beta(headers: Mapping[str, str]) -> bool:
    """Whether a part is in the dialect of 4.0.0-beta4: for one user, and only the status of the answer is read."""
    return "userids" not in headers and "userid" in headers


def source_refs(texts: Iterable[str]) -> list[SourceRef]:
    """The sources among these ids; what has no valid form names none."""
    refs = []
    for text in texts:
        with suppress(ValueError):
            refs.append(SourceRef.parse(text.strip()))
    return refs


def source_ref(text: str) -> SourceRef:
    """The source of an id in a body. Raises InvalidRequest."""
    try:
        return SourceRef.parse(text.strip())
    except ValueError as error:
        raise InvalidRequest(f"sourceId: {error}") from None


def readers_from(names: Iterable[str]) -> frozenset[Principal]:
    """The users of a list, blanks left out. Raises InvalidRequest when nobody is left or one cannot be a user id."""
    wanted = {name.strip() for name in names} - {""}
    if not wanted:
        raise InvalidRequest("userIds: expected at least one user id")
    if any(len(name) > _MAX_USER_ID for name in wanted):
        raise InvalidRequest(f"userIds: a user id has at most {_MAX_USER_ID} characters")
    try:
        return frozenset(Principal(Realm.NEXTCLOUD, name) for name in wanted)
    except ValueError as error:
        raise InvalidRequest(f"userIds: {error}") from None


def _modified(text: str) -> datetime:
    digits = text.strip()
    try:
        if not digits.isascii() or not digits.isdigit():
            raise ValueError
        return datetime.fromtimestamp(int(digits), UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest("modified: expected seconds since 1970, in digits") from None
