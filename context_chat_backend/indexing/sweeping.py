# SPDX-License-Identifier: AGPL-3.0-or-later
"""Housekeeping: rows of what was deleted and old conversations are removed, and how rare words are is estimated anew as
the index grows.

What was deleted has been invisible since the action was acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.store.access import Access
from context_chat_backend.store.forgetting import Forgetting
from context_chat_backend.store.overview import Overview
from context_chat_backend.store.words import WordSample

_SECONDS_BETWEEN = 5.0
_SECONDS_BETWEEN_SETS = 600.0
_SECONDS_BETWEEN_SAMPLES = 30.0
_SECONDS_BETWEEN_FORGETTING = 600.0
_log = get_logger(__name__)


async def keep_swept(actions: Access, overview: Overview) -> None:
    """Sweep until cancelled."""
    sets_swept_at = float("-inf")
    while True:
        try:
            swept = await actions.sweep_sources()
            if swept or time.monotonic() - sets_swept_at > _SECONDS_BETWEEN_SETS:
                await actions.sweep_sets()
                await overview.drop_kept()
                sets_swept_at = time.monotonic()
        except DatabaseUnavailable as error:
            _log.warning("sweeping_waits_for_database", error=str(error))
        await asyncio.sleep(_SECONDS_BETWEEN)


async def keep_forgetting(forgetting: Forgetting, days: int) -> None:
    """Remove conversations nobody has continued for so many days, until cancelled."""
    while True:
        try:
            if removed := await forgetting.conversations(timedelta(days=days)):
                _log.info("conversations_forgotten", count=removed, days=days)
        except DatabaseUnavailable as error:
            _log.warning("forgetting_waits_for_database", error=str(error))
        await asyncio.sleep(_SECONDS_BETWEEN_FORGETTING)


async def keep_sampled(sample: WordSample) -> None:
    """Renew the sample of words whenever it is due, until cancelled."""
    while True:
        try:
            await sample.renew()
        except DatabaseUnavailable as error:
            _log.warning("sampling_waits_for_database", error=str(error))
        await asyncio.sleep(_SECONDS_BETWEEN_SAMPLES)
