# SPDX-License-Identifier: AGPL-3.0-or-later
"""How work reaches us: pushed by companions up to 5.3, pulled from the queues of later ones (contract README)."""

from __future__ import annotations

import time

from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.exapp import providers
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.store.switch import Switch

_LOOK_AGAIN_SECONDS = 60.0
_NO_SUCH_ROUTE = 404
_log = get_logger(__name__)


class Transfer:
    """Knows whether the companion has queues, and finds out when it was updated while we run."""

    def __init__(self, switch: Switch, nextcloud: Nextcloud) -> None:
        self._switch = switch
        self._nextcloud = nextcloud
        self._looked_at = float("-inf")

    async def pulls(self) -> bool:
        """Whether there are queues, as far as is known; what was not found is looked for again every minute.

        Raises DatabaseUnavailable.
        """
        if await self._switch.pulls():
            return True
        if time.monotonic() < self._looked_at + _LOOK_AGAIN_SECONDS or not await self.look():
            return False
        try:
            await self.offer_tasks(pulls=True)
        except NextcloudUnavailable as error:
            _log.warning("providers_not_registered", reason=str(error))
            await self._switch.set_pulls(False)  # and looked at again in a minute
            return False
        return True

    async def look(self) -> bool:
        """Ask Nextcloud, leasing nothing. An answer that decides nothing leaves what was known.

        Raises DatabaseUnavailable.
        """
        self._looked_at = time.monotonic()
        known = await self._switch.pulls()
        try:
            found = await self._nextcloud.queues.exist()
        except NextcloudUnavailable as error:
            _log.info("queues_not_asked", reason=str(error))
            return known is True
        if found != known:
            _log.info("transfer_found", pulls=found)
            await self._switch.set_pulls(found)
        return found

    async def offer_tasks(self, *, pulls: bool) -> None:
        """Offer our kinds of tasks; companions that push offer them themselves. Raises NextcloudUnavailable."""
        tasks = self._nextcloud.tasks
        await (providers.register(tasks) if pulls else providers.unregister(tasks))

    async def doubt(self, failure: NextcloudUnavailable) -> None:
        """A call to the queues failed: where there are none any more the companion was replaced."""
        if failure.status == _NO_SUCH_ROUTE:
            await self.look()
