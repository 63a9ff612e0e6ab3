# SPDX-License-Identifier: AGPL-3.0-or-later
"""Numbered actions in bulk: those on one source become one change, and many sources are changed at once.

Actions take effect in the order of their ids. One that comes late, after newer ones were applied to the same source,
provider or user (its lease was lost for a day), is passed over as far as those reach; deletions are never passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from context_chat_backend.domain import Principal, Realm, SourceRef
from context_chat_backend.store.access import Access
from context_chat_backend.store.changes import Change
from context_chat_backend.store.queued import Queued

_NC = Realm.NEXTCLOUD
_ALL = ""
"""The target of which the highest id of all is kept."""
_SOURCES_AT_ONCE = 1000
"""Admissions wait for as long as so many take."""


class Kind(StrEnum):
    """What an action does."""

    ALLOW = "allow"
    DENY = "deny"
    REPLACE = "replace"
    DELETE = "delete"
    DELETE_USER = "delete user"


@dataclass(frozen=True, slots=True)
class Action:
    """One action of Nextcloud."""

    id: int
    kind: Kind
    targets: tuple[SourceRef, ...] | str = ()
    """Sources, or all of the provider of that key; nothing where a user is deleted."""
    readers: frozenset[Principal] = frozenset()


@dataclass
class _Net:
    """What several actions on one source come to."""

    replaced: bool = False
    add: set[Principal] = field(default_factory=set)
    remove: set[Principal] = field(default_factory=set)
    deleted: bool = False

    def then(self, action: Action) -> None:
        match action.kind:
            case Kind.ALLOW:
                self.add |= action.readers
                self.remove -= action.readers
            case Kind.DENY:
                self.remove |= action.readers
                self.add -= action.readers
            case Kind.REPLACE:
                self.replaced, self.add, self.remove = True, set(action.readers), set()
            case _:
                self.deleted = True

    def change(self) -> Change:
        remove = frozenset[Principal]() if self.replaced else frozenset(self.remove)
        return Change(frozenset(self.add), remove, self.replaced, self.deleted)


class Actions:
    """Applies batches of actions."""

    def __init__(self, access: Access, queued: Queued) -> None:
        self._access = access
        self._queued = queued

    async def apply(self, actions: Iterable[Action], rows: Collection[tuple[str, int]]) -> None:
        """Apply the actions by ascending id, then settle the `rows` (queue, id) they came in.

        Until they are settled the batch may be applied again, to the same effect. Raises DatabaseUnavailable.
        """
        ordered = sorted(actions, key=lambda action: action.id)
        applied = await self._queued.applied({target for action in ordered for target in _targets(action)} | {_ALL})
        nets: dict[SourceRef, _Net] = {}
        for action in ordered:
            if isinstance(action.targets, str) or action.kind is Kind.DELETE_USER:
                await self._flush(nets)
                await self._apply_widely(action, applied)
                continue
            for ref in action.targets:
                timely = _timely(action, str(ref), ref.provider, applied)
                if timely is None:
                    continue
                if ref in nets and nets[ref].deleted:
                    await self._flush(nets)
                nets.setdefault(ref, _Net()).then(timely)
        await self._flush(nets)
        await self._queued.settle(rows, _highest(ordered))

    async def note_listed(self, refs: Sequence[SourceRef]) -> None:
        """The readers of these sources were read just now: all actions known so far are in them."""
        highest = (await self._queued.applied([_ALL])).get(_ALL)
        if highest is not None:
            await self._queued.note_applied({str(ref): highest for ref in refs})

    async def _flush(self, nets: dict[SourceRef, _Net]) -> None:
        changes = [(ref, net.change()) for ref, net in nets.items()]
        for start in range(0, len(changes), _SOURCES_AT_ONCE):
            await self._access.change_each(_NC, dict(changes[start : start + _SOURCES_AT_ONCE]))
        nets.clear()

    async def _apply_widely(self, action: Action, applied: dict[str, int]) -> None:
        if action.kind is Kind.DELETE_USER:
            for user in action.readers:
                await self._access.delete_user(user)
            return
        assert isinstance(action.targets, str)
        if action.kind is Kind.DELETE:
            await self._access.delete_provider(_NC, action.targets)
            return
        timely = _timely(action, action.targets, action.targets, applied)
        if timely is None:
            return
        targets: Sequence[SourceRef] | str = action.targets
        if action.id < applied.get(_ALL, 0):
            targets = await self._queued.sources_not_newer(_NC, action.targets, action.id)
        change = self._access.allow if action.kind is Kind.ALLOW else self._access.deny
        await change(_NC, targets, timely.readers)


def _timely(action: Action, target: str, provider: str, applied: dict[str, int]) -> Action | None:
    """What is left of an action on one target after newer ones; None when nothing is."""
    if action.kind is Kind.DELETE:
        return action
    if action.id < max(applied.get(target, 0), applied.get(provider, 0)):
        return None
    readers = frozenset(reader for reader in action.readers if action.id >= applied.get(_user(reader), 0))
    if readers == action.readers:
        return action
    return Action(action.id, action.kind, action.targets, readers) if readers else None


def _targets(action: Action) -> list[str]:
    if action.kind is Kind.DELETE_USER:
        return [_user(reader) for reader in action.readers]
    readers = [_user(reader) for reader in action.readers]
    if isinstance(action.targets, str):
        return [action.targets, *readers]
    return [*map(str, action.targets), *(ref.provider for ref in action.targets), *readers]


def _highest(ordered: Sequence[Action]) -> dict[str, int]:
    """The highest id for each target that was acted on."""
    highest: dict[str, int] = {}
    for action in ordered:
        highest[_ALL] = action.id
        if action.kind is Kind.DELETE_USER:
            highest |= {_user(reader): action.id for reader in action.readers}
        elif isinstance(action.targets, str):
            highest[action.targets] = action.id
        else:
            highest |= {str(ref): action.id for ref in action.targets}
    return highest


def _user(reader: Principal) -> str:
    return f"user {reader.name}"  # no source id and no provider key holds a blank before its colon
