# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people type to name a user or a collection."""

from __future__ import annotations

from context_chat_backend.domain import Collection, Principal, Realm, realm_of_issuer
from context_chat_backend.errors import InvalidRequest


def local_user(name: str) -> Principal:
    """The user of that name. Raises InvalidRequest."""
    try:
        return Principal(Realm.LOCAL, name.strip())
    except ValueError as error:
        raise InvalidRequest(f"--user: {error}") from None


def user_of_issuer(name: str, issuer: str) -> Principal:
    """The user whom tokens of `issuer` name so. Raises InvalidRequest."""
    try:
        return Principal(realm_of_issuer(issuer), name)
    except ValueError as error:
        raise InvalidRequest(f"user: {error}") from None


def collection_named(name: str) -> Collection:
    """The collection of that name, whether there is one or not. Raises InvalidRequest."""
    try:
        return Collection(name)
    except ValueError as error:
        raise InvalidRequest(f"collection: {error}") from None
