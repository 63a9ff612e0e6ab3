# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Nextcloud says of sources to one user, at this moment: folders, labels, links, and what he cannot see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from context_chat_backend.domain import FILES, SourceLabel, SourceRef
from context_chat_backend.errors import InvalidRequest, NextcloudUnavailable
from context_chat_backend.nextcloud.client import NextcloudClient

_PATH = "/ocs/v2.php/apps/context_chat"
_CANARY = SourceRef(FILES, "9007199254740991")
"""A file that cannot exist: what is described like it is not there for the user (ruling 17)."""
_ENRICH_SECONDS = 10.0
_RESOLVE_SECONDS = 120.0
"""A folder is walked through with all that lies below it."""


@dataclass(frozen=True, slots=True)
class Enriched:
    """What a user sees of some sources."""

    labels: Mapping[SourceRef, SourceLabel]
    """Of those Nextcloud described."""
    hidden: frozenset[SourceRef]
    """Files that are described as those are that do not exist. Of content of apps nobody can tell."""


class Sources:
    """The sources of one Nextcloud."""

    def __init__(self, client: NextcloudClient) -> None:
        self._client = client

    async def resolve(self, ids: Sequence[str], user: str) -> list[str]:
        """Source ids in which folders are replaced by the files below them. Raises InvalidRequest when Nextcloud does
        not know the user, NextcloudUnavailable."""
        body = {"source_ids": list(ids), "userId": user}
        answer = await self._client.call("POST", f"{_PATH}/resolve_scope_list", json=body, seconds=_RESOLVE_SECONDS)
        if not answer.ok:
            raise InvalidRequest("scopeList: Nextcloud cannot resolve it for this user")
        found = answer.data.get("source_ids") if isinstance(answer.data, dict) else None
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    async def enrich(self, titles: Mapping[SourceRef, str], user: str) -> Enriched:
        """Labels of sources, given with their titles, and which of the files the user does not see.

        Raises NextcloudUnavailable, also when Nextcloud does not know the user.
        """
        asked = [*titles, _CANARY]
        body = {
            "sources": [{"source_id": str(ref), "title": titles.get(ref, "")} for ref in asked],
            "userId": user,
        }
        answer = await self._client.call("POST", f"{_PATH}/enrich_sources", json=body, seconds=_ENRICH_SECONDS)
        if not answer.ok or not isinstance(answer.data, dict):
            raise NextcloudUnavailable("Nextcloud does not describe these sources", status=answer.status)
        labels = _labels(list(titles), answer.data.get("sources"))
        canary = labels.pop(_CANARY, None)
        hidden = {
            ref
            for ref, one in labels.items()
            if canary is not None and ref.provider == FILES and (one.label, one.icon) == (canary.label, canary.icon)
        }
        return Enriched(labels, frozenset(hidden))


def _labels(asked: Sequence[SourceRef], described: Any) -> dict[SourceRef, SourceLabel]:
    """Files come back under their ids; content of an app under its provider, in the order in which it was asked."""
    content: dict[str, list[SourceLabel]] = defaultdict(list)
    labels: dict[SourceRef, SourceLabel] = {}
    for entry in described if isinstance(described, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            continue
        label, icon, url = (one if isinstance(one := entry.get(name), str) else "" for name in ("label", "icon", "url"))
        try:
            labels[SourceRef.parse(entry["id"])] = SourceLabel(label, icon, url)
        except ValueError:
            content[entry["id"]].append(SourceLabel(label, icon, url))
    for provider, found in content.items():
        named = [ref for ref in asked if ref.provider == provider]
        if len(named) == len(found):  # else nobody can tell which is which
            labels |= dict(zip(named, found, strict=True))
    return labels
