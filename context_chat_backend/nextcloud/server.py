# SPDX-License-Identifier: AGPL-3.0-or-later
"""One Nextcloud, by what is asked of it."""

from __future__ import annotations

from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.files import Files
from context_chat_backend.nextcloud.queues import Queues
from context_chat_backend.nextcloud.sources import Sources
from context_chat_backend.nextcloud.tasks import Tasks


class Nextcloud:
    """The Nextcloud this app is registered with."""

    def __init__(self, client: NextcloudClient, *, max_source_bytes: int) -> None:
        """Files longer than `max_source_bytes` are not read to their end."""
        self.client = client
        self.queues = Queues(client)
        self.sources = Sources(client)
        self.tasks = Tasks(client)
        self.files = Files(client, max_source_bytes)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()
