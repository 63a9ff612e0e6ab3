# SPDX-License-Identifier: AGPL-3.0-or-later
"""The companion's queues of documents and actions, since 5.4.0 (contract pull-5x).

What is leased is given to nobody else for 24 hours, whatever becomes of the answer; there is no way to give it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.nextcloud.client import NextcloudClient

_PATH = "/ocs/v2.php/apps/context_chat/queues"
_ACKNOWLEDGED_AT_ONCE = 1000

_ID = re.compile(r"[0-9]{1,18}")

FILES, CONTENT, ACTIONS = "files", "content_providers", "actions"


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """A row of one of the three queues. Ids of two queues may be the same."""

    queue: str
    id: int
    payload: str
    """JSON, in ASCII."""


class Queues:
    """The three queues of one Nextcloud."""

    def __init__(self, client: NextcloudClient, *, lease_seconds: float = 300.0) -> None:
        """An answer to a lease is waited for `lease_seconds`.

        The server looks at each file of the list; giving up early would lose the whole list for a day.
        """
        self._client = client
        self._lease_seconds = lease_seconds

    async def exist(self) -> bool:
        """Whether the companion has queues; asking leases nothing. Raises NextcloudUnavailable: nobody knows."""
        return (await self._client.call("GET", f"{_PATH}/actions/", query={"n": 0}, seconds=10.0)).ok

    async def lease_documents(self, limit: int) -> list[QueuedRow]:
        """At most `limit` rows of files and as many of content, each oldest first. Raises NextcloudUnavailable."""
        data = await self._lease("documents", limit)
        return _rows(FILES, data.get(FILES)) + _rows(CONTENT, data.get(CONTENT))

    async def lease_actions(self, limit: int) -> list[QueuedRow]:
        """At most `limit` actions, oldest first. Raises NextcloudUnavailable."""
        return _rows(ACTIONS, (await self._lease("actions", limit)).get(ACTIONS))

    async def acknowledge(self, ids: Mapping[str, Collection[int]]) -> None:
        """Delete rows, by queue; those that are gone are no error. Raises NextcloudUnavailable."""
        documents = {queue: list(ids.get(queue, ())) for queue in (FILES, CONTENT)}
        if any(documents.values()):
            await self._delete("documents", documents)
        actions = list(ids.get(ACTIONS, ()))
        for start in range(0, len(actions), _ACKNOWLEDGED_AT_ONCE):
            await self._delete("actions", {ACTIONS: actions[start : start + _ACKNOWLEDGED_AT_ONCE]})

    async def _lease(self, queue: str, limit: int) -> Mapping[str, Any]:
        answer = await self._client.call("GET", f"{_PATH}/{queue}/", query={"n": limit}, seconds=self._lease_seconds)
        if not answer.ok:
            raise NextcloudUnavailable(f"the queue of {queue} answers {answer.status}", status=answer.status)
        return answer.data if isinstance(answer.data, dict) else {}

    async def _delete(self, queue: str, ids: Mapping[str, list[int]]) -> None:
        answer = await self._client.call("DELETE", f"{_PATH}/{queue}/", json=ids)
        if not answer.ok:
            raise NextcloudUnavailable(f"the queue of {queue} answers {answer.status}", status=answer.status)


def _rows(queue: str, listed: Any) -> list[QueuedRow]:
    """Rows by ascending id; PHP writes an empty map as a list."""
    named = listed if isinstance(listed, dict) else {}
    rows = [QueuedRow(queue, int(id_), json.dumps(payload)) for id_, payload in named.items() if _ID.fullmatch(id_)]
    return sorted(rows, key=lambda row: row.id)
