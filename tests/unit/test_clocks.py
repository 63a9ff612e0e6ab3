# SPDX-License-Identifier: AGPL-3.0-or-later
"""One clock decides what came before what: the database's, which all processes and machines share."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "context_chat_backend"
ROOMS = ("domain", "exapp", "indexing", "retrieval", "store")
READS = re.compile(r"datetime\.now|date\.today|time\.time\(|utcnow")
ALLOWED = {
    "indexing/admission.py": "rules that speak of a source's age, in days",
    "indexing/excluding.py": "the same rules, once a day",
    "store/backup.py": "the name of a backup",
    "store/database.py": "how far the two clocks are apart, for doctor",
    "store/entering.py": "the order in which waiting sources are indexed",
    "store/takeover.py": "a note for people",
}


def test_no_other_module_that_keeps_or_orders_anything_reads_the_programs_clock() -> None:
    reading = {
        str(path.relative_to(PACKAGE))
        for room in ROOMS
        for path in (PACKAGE / room).rglob("*.py")
        if READS.search(path.read_text(encoding="utf-8"))
    }

    assert reading == set(ALLOWED)
