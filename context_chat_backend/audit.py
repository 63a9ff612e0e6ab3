# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asked, and which sources were used: ids alone, in a file of its own, where an administrator wants it.

It is a record about people rather than a log: its folder is closed to others, and /downloadLogs does not hold it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from context_chat_backend.domain import Principal, SourceRef
from context_chat_backend.rotation import SharedFile


class Audit:
    """Writes one line of JSON for each question; nothing where it is not wanted."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` takes audit.log; None: nothing is written. Raises OSError."""
        self._file: SharedFile | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            folder.chmod(0o750)
            self._file = SharedFile(folder / "audit.log")

    def note(
        self,
        kind: str,
        asker: Principal,
        outcome: str,
        *,
        sources: Iterable[SourceRef] = (),
        cited: Iterable[SourceRef] = (),
        model: str = "",
    ) -> None:
        """Write down that `asker` has asked.

        `kind` is 'answer', 'chat' (without documents) or 'search'; `sources` are those the model read, or a search
        has found; `cited` those the answer points to.
        """
        if self._file is None:
            return
        line = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": kind,
            "realm": str(asker.realm),
            "user": asker.name,
            "outcome": outcome,
            "sources": [*dict.fromkeys(map(str, sources))],
            "cited": [*dict.fromkeys(map(str, cited))],
            "model": model,
        }
        text = json.dumps(line, ensure_ascii=False)
        self._file.handle(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
