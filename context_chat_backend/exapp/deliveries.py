# SPDX-License-Identifier: AGPL-3.0-or-later
"""The headers of one part of /loadSources become a delivery (contract push-4x 2.2 and, for `userId`, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from context_chat_backend.domain import Delivery, Principal, Realm, SourceRef, clean_title
from context_chat_backend.errors import InvalidRequest

FILES = "files__default"
_MAX_USERS = 100_000


def delivery_from(filename: str | None, headers: Mapping[str, str]) -> Delivery:
    """The delivery these headers describe. Raises InvalidRequest naming the header that is wrong."""
    if not filename:
        raise InvalidRequest("filename: it is missing; expected the source id")
    try:
        ref = SourceRef.parse(filename)
    except ValueError as error:
        raise InvalidRequest(f"filename: {error}") from None
    if headers.get("provider", "").strip() != ref.provider:
        raise InvalidRequest("provider: expected the provider of the source id")
    beta = "userids" not in headers and "userid" in headers
    return Delivery(
        realm=Realm.NEXTCLOUD,
        ref=ref,
        title=clean_title(headers.get("title", "")),
        media_type=headers.get("type", "").strip()[:255],
        modified_at=_modified(headers.get("modified", "")),
        readers=readers_from([headers.get("userid", "")] if beta else headers.get("userids", "").split(",")),
        # A delivery of the beta names one reader of several; content of apps is delivered again without its others.
        adds_readers=beta or ref.provider != FILES,
    )


def readers_from(names: list[str]) -> frozenset[Principal]:
    """The users of a list, blanks left out. Raises InvalidRequest when nobody is left or one cannot be a user id."""
    wanted = {name.strip() for name in names} - {""}
    if not wanted:
        raise InvalidRequest("userIds: expected at least one user id")
    if len(wanted) > _MAX_USERS or any(len(name) > 255 for name in wanted):
        raise InvalidRequest("userIds: too many user ids, or one of more than 255 characters")
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
