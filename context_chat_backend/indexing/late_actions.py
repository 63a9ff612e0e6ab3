# SPDX-License-Identifier: AGPL-3.0-or-later
"""Actions that come late, after newer ones were applied: what is done anew so that all stand in their order.

The newer ones on the same source follow once more behind a late one, so that it holds for those readers whom nothing
newer names, and for nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from context_chat_backend.domain import Principal, Realm, SourceRef
from context_chat_backend.indexing.numbered_action import Action, Kind
from context_chat_backend.store.applied import Applied, AppliedAction

_USERS = ""
"""The target of deletions of users."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one action, late or applied before, does to one target."""

    action: Action
    is_late: bool


async def done_anew(late: Sequence[Action], applied: Applied) -> list[tuple[SourceRef, Action]]:
    """What is to be done to single sources, in order, for late actions (by ascending id); deletions of users and of
    providers have been carried out already.

    Raises DatabaseUnavailable.
    """
    refs = await _concerned(late, applied)
    if not refs:
        return []
    history = await _history(late, refs, applied)
    listed = await applied.listed([str(ref) for ref in refs])
    return [
        (ref, action)
        for ref in refs
        for action in _sequence(
            entry
            for target in (str(ref), ref.provider, _USERS)
            for entry in history.get(target, ())
            if entry.action.id > listed.get(str(ref), 0)
        )
    ]


def applied_as(action: Action) -> list[AppliedAction]:
    """An action as it is kept, by target."""
    names = tuple(sorted(reader.name for reader in action.readers))
    if action.kind is Kind.DELETE_USER:
        return [AppliedAction(action.id, action.kind, _USERS, names)]
    targets = [action.targets] if isinstance(action.targets, str) else map(str, action.targets)
    return [AppliedAction(action.id, action.kind, target, names) for target in targets]


async def _concerned(late: Sequence[Action], applied: Applied) -> list[SourceRef]:
    refs: dict[SourceRef, None] = {}
    for action in late:
        if not isinstance(action.targets, str):
            refs |= dict.fromkeys(action.targets)
        elif action.kind is not Kind.DELETE:
            refs |= dict.fromkeys(await applied.sources_of(Realm.NEXTCLOUD, action.targets))
    return list(refs)


async def _history(late: Sequence[Action], refs: Sequence[SourceRef], applied: Applied) -> dict[str, list[_Entry]]:
    """By target, what was done since the first of the late actions, and these."""
    targets = {_USERS, *(str(ref) for ref in refs), *(ref.provider for ref in refs)}
    kept = [(entry, False) for entry in await applied.newer(targets, than=late[0].id)]
    numbers = {action.id for action in late}
    history: dict[str, list[_Entry]] = {}
    for entry, is_late in kept + [(entry, True) for action in late for entry in applied_as(action)]:
        if is_late or entry.id not in numbers:
            readers = frozenset(Principal(Realm.NEXTCLOUD, name) for name in entry.readers)
            action = Action(entry.id, Kind(entry.kind), entry.target, readers)
            history.setdefault(entry.target, []).append(_Entry(action, is_late))
    return history


def _sequence(entries: Iterable[_Entry]) -> list[Action]:
    """The late actions on one source and all behind them; nothing where none of these is late."""
    ordered = sorted(entries, key=lambda entry: entry.action.id)
    for place, entry in reversed(list(enumerate(ordered))):
        if entry.action.kind is Kind.DELETE and (not entry.is_late or ": " not in str(entry.action.targets)):
            ordered = ordered[place + 1 :]  # what was deleted then and is there now came later
            break
    first = next((place for place, entry in enumerate(ordered) if _opens(entry)), len(ordered))
    return [
        Action(entry.action.id, Kind.DENY, readers=entry.action.readers)
        if entry.action.kind is Kind.DELETE_USER
        else entry.action
        for entry in ordered[first:]
    ]


def _opens(entry: _Entry) -> bool:
    return entry.is_late and entry.action.kind is not Kind.DELETE_USER
