# SPDX-License-Identifier: AGPL-3.0-or-later
"""A question about sources that still wait to be indexed waits for them, but not for ever (ruling 15)."""

from __future__ import annotations

import time

from context_chat_backend.domain import Question
from context_chat_backend.indexing.index import Indexer
from context_chat_backend.store.ledger import Ledger

MAX_WAIT_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 1.0
"""Sources may be settled by another process, which cannot wake this one."""


async def wait_for_scope(question: Question, ledger: Ledger, indexer: Indexer) -> None:
    """Let waiting sources named by the scope jump the queue, and return when they are settled, or after 60 s.

    Raises DatabaseUnavailable.
    """
    if question.scope.sources is None:
        return
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline and await ledger.prefer(question.asker.sources_realm, question.scope.sources):
        await indexer.wait_for_verdict(_LOOK_AGAIN_SECONDS)
