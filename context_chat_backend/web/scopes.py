# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a program's question may be answered from, beside the rights of who asks."""

from __future__ import annotations

from collections.abc import Sequence

from context_chat_backend.domain import EVERYTHING, Collection, Scope
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.wiring import Backend


async def scope_of(backend: Backend, caller: Caller, names: Sequence[str] | None) -> Scope:
    """The collections of those names; without names all that `caller` is kept to. Raises ApiError (403)."""
    if names is None:
        if caller.collections is None:
            return EVERYTHING
        return Scope(providers=tuple(sorted(one.provider for one in caller.collections)))
    return Scope(providers=tuple([(await _allowed(backend, caller, name)).provider for name in names]))


async def _allowed(backend: Backend, caller: Caller, name: str) -> Collection:
    """The collection, when the caller may read it. One that is not there is refused in the same words."""
    try:
        collection = Collection(name)
        is_read = await backend.collections.is_read_by(collection, caller.asker)
    except ValueError:
        is_read = False
    if not is_read or not caller.may_reach(collection):
        raise ApiError(
            403, "collection_not_allowed", "a collection that was named cannot be read", param="retrieval.collections"
        )
    return collection
