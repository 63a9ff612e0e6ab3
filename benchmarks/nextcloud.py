# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work with Nextcloud, the double beside the real program: a backlog of actions, searches from trigger to result."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.percentiles import percentile
from tests.installation import CONFIGURATION, register
from tests.nextcloud_double.process import SEARCH, Nextcloud
from tests.program import Program

_USERS = 50


def main() -> None:
    """Measure, and print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--actions", type=int, default=100_000)
    arguments.add_argument("--sources", type=int, default=1000)
    arguments.add_argument("--searches", type=int, default=100)
    chosen = arguments.parse_args()
    storage = Path(tempfile.mkdtemp(prefix="ccb-bench-"))
    storage.chmod(0o755)
    (storage / "config.yaml").write_text(CONFIGURATION.format(llm="extractive"))
    try:
        with Nextcloud() as nextcloud:
            program = Program(storage, {"NEXTCLOUD_URL": nextcloud.url})
            program.start(enable=False)
            try:
                print(json.dumps(_measure(nextcloud, program, chosen), indent=2))
            finally:
                program.stop()
    finally:
        shutil.rmtree(storage)


def _measure(nextcloud: Nextcloud, program: Program, chosen: argparse.Namespace) -> dict[str, float]:
    users = [f"user{n}" for n in range(_USERS)]
    nextcloud.do("add_users", names=users)
    numbers = nextcloud.do(
        "put_files",
        files=[
            {"path": f"{n}.txt", "readers": users[:5], "text": f"the garden number {n}"} for n in range(chosen.sources)
        ],
    )
    register(nextcloud, program)
    started = time.monotonic()
    program.wait_for_indexed(chosen.sources)
    indexed = time.monotonic() - started
    chance = random.Random(1)
    rows = [
        (
            "update_access_source_id",
            {
                "op": chance.choice(["allow", "deny"]),
                "userIds": chance.sample(users[5:], chance.randint(1, 3)),
                "sourceId": f"files__default: {chance.choice(numbers)}",
            },
        )
        for _ in range(chosen.actions)
    ]
    for start in range(0, len(rows), 10_000):
        nextcloud.do("enqueue_actions", rows=rows[start : start + 10_000])
    started = time.monotonic()
    program.client.post("/trigger")
    nextcloud.wait(nextcloud.queues_are_empty, 600)
    drained = time.monotonic() - started
    with_check = _searches(nextcloud, chosen.searches)
    return {
        "sources_per_second": round(chosen.sources / indexed, 1),
        "actions": chosen.actions,
        "actions_drained_seconds": round(drained, 1),
        "search_task_p50_ms": round(1000 * statistics.median(with_check)),
        "search_task_p95_ms": round(1000 * percentile(with_check, 95)),
        "enrichment_p50_ms": round(1000 * _enrichment(nextcloud)),
    }


def _searches(nextcloud: Nextcloud, count: int) -> list[float]:
    """Seconds from the trigger to the reported result, by the double's own clock of calls."""
    seconds = []
    for _ in range(count):
        asked = time.time()
        task = nextcloud.schedule(SEARCH, "user1", "garden")
        nextcloud.ended(task)
        (reported,) = nextcloud.calls("POST", f"/{task}/result")
        seconds.append(float(reported["at"]) - asked)
    return seconds


def _enrichment(nextcloud: Nextcloud) -> float:
    """Seconds from the call that asks what the user sees to the result that follows it: an upper bound of its cost."""
    asked = [float(call["at"]) for call in nextcloud.calls("POST", "/enrich_sources")]
    told = [float(call["at"]) for call in nextcloud.calls("POST", "/result")]
    return statistics.median(end - begin for begin, end in zip(asked, told, strict=False))


if __name__ == "__main__":
    main()
