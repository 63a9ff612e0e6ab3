# SPDX-License-Identifier: AGPL-3.0-or-later
"""One call of Nextcloud before each answer: what the user does not see any more, and how the rest is shown to him."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping

from context_chat_backend.domain import FILES, SourceLabel, SourceRef
from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.metrics import RIGHTS_CHECKS, SOURCES_HIDDEN
from context_chat_backend.nextcloud.sources import Sources

_log = get_logger(__name__)


class NextcloudSight:
    """What one user sees of the sources of one answer."""

    def __init__(self, sources: Sources, user: str, *, checks: bool) -> None:
        """Without `checks` sources are described, and the indexed rights alone decide."""
        self._sources = sources
        self._user = user
        self._checks = checks
        self._titles: dict[SourceRef, str] = {}
        self._labels: dict[SourceRef, SourceLabel] = {}

    async def hidden(self, titles: Mapping[SourceRef, str]) -> Collection[SourceRef]:
        """See answering.rights.Sight. When Nextcloud does not answer, the indexed rights decide."""
        self._titles |= titles
        try:
            enriched = await self._sources.enrich(titles, self._user)
        except NextcloudUnavailable as error:
            RIGHTS_CHECKS.labels("unanswered").inc()
            _log.warning("sources_not_enriched", reason=str(error))
            return ()
        RIGHTS_CHECKS.labels("answered").inc()
        self._labels |= enriched.labels
        if enriched.hidden:
            SOURCES_HIDDEN.inc(len(enriched.hidden))
            _log.info("sources_hidden", count=len(enriched.hidden), dropped=self._checks)
        return enriched.hidden if self._checks else ()

    def described(self, refs: Iterable[SourceRef]) -> list[str]:
        """One JSON object for each source, once, as the Assistant shows them; a minimal one where nobody described it.

        An entry that is not valid JSON would make the Assistant show none.
        """
        return [
            json.dumps({"id": str(ref), "label": shown.label, "icon": shown.icon, "url": shown.url})
            for ref in dict.fromkeys(refs)
            if (shown := self._labels.get(ref) or _minimal(ref, self._titles.get(ref, "")))
        ]


def _minimal(ref: SourceRef, title: str) -> SourceLabel:
    name = title.rpartition("/")[2] if ref.provider == FILES else title
    return SourceLabel(name or title or str(ref))
