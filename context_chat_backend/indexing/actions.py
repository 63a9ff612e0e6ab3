# SPDX-License-Identifier: AGPL-3.0-or-later
"""Numbered actions in bulk: those on one source become one change, and many sources are changed at once.

Actions take effect in the order of their ids. One that comes late, after newer ones were applied (its lease was lost
for a day), is followed once more by those; deletions of users and providers are carried out whenever they come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from context_chat_backend.domain import Principal, Realm, SourceRef
from context_chat_backend.indexing.late_actions import applied_as, done_anew
from context_chat_backend.indexing.numbered_action import Action, Kind
from context_chat_backend.store.access import Access
from context_chat_backend.store.applied import Applied
from context_chat_backend.store.changes import Change
from context_chat_backend.store.queued import Queued

_NC = Realm.NEXTCLOUD
_SOURCES_AT_ONCE = 1000
"""Admissions wait for as long as so many take."""


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

    def __init__(self, access: Access, queued: Queued, applied: Applied) -> None:
        self._access = access
        self._queued = queued
        self._applied = applied

    async def apply(self, actions: Iterable[Action], rows: Collection[tuple[str, int]]) -> None:
        """Apply the actions by ascending id, then settle the `rows` (queue, id) they came in.

        Until they are settled the batch may be applied again, to the same effect. Sources that are taken from their
        last readers are kept until `Access.let_emptied_go`: readers may have been listed after some of these actions,
        so that whoever is taken away here is let in again by one that follows. Raises DatabaseUnavailable.
        """
        ordered = sorted(actions, key=lambda action: action.id)
        highest = await self._applied.highest()
        late = [action for action in ordered if action.id < highest]
        if late:
            await self._apply_late(late)
        nets: dict[SourceRef, _Net] = {}
        for action in ordered[len(late) :]:
            if isinstance(action.targets, str) or action.kind is Kind.DELETE_USER:
                await self._flush(nets)
                await self._apply_widely(action)
                continue
            for ref in action.targets:
                if ref in nets and nets[ref].deleted:
                    await self._flush(nets)
                nets.setdefault(ref, _Net()).then(action)
        await self._flush(nets)
        await self._queued.settle(rows, [entry for action in ordered for entry in applied_as(action)])

    async def _apply_late(self, late: Sequence[Action]) -> None:
        for action in late:
            if action.kind is Kind.DELETE_USER or (isinstance(action.targets, str) and action.kind is not Kind.ALLOW):
                await self._apply_widely(action)
        nets: dict[SourceRef, _Net] = {}
        for ref, action in await done_anew(late, self._applied):
            nets.setdefault(ref, _Net()).then(action)
        await self._flush(nets)

    async def _flush(self, nets: dict[SourceRef, _Net]) -> None:
        changes = [(ref, net.change()) for ref, net in nets.items()]
        for start in range(0, len(changes), _SOURCES_AT_ONCE):
            some = dict(changes[start : start + _SOURCES_AT_ONCE])
            await self._access.change_each(_NC, some, keep_emptied=True)
        nets.clear()

    async def _apply_widely(self, action: Action) -> None:
        if action.kind is Kind.DELETE_USER:
            for user in action.readers:
                await self._access.delete_user(user, keep_emptied=True)
            return
        assert isinstance(action.targets, str)
        if action.kind is Kind.DELETE:
            await self._access.delete_provider(_NC, action.targets)
        elif action.kind is Kind.ALLOW:
            await self._access.allow(_NC, action.targets, action.readers)
        else:
            await self._access.deny(_NC, action.targets, action.readers, keep_emptied=True)
