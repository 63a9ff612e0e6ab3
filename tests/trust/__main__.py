# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m tests.trust`: many seeds, a table by fault, and the same as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from tests.conftest import open_folder
from tests.trust.place import make_template
from tests.trust.trial import Outcome, Trial, run_trial


def table(trials: Iterable[Trial]) -> str:
    """By fault: how often it happened, how often something was wrong after it, and how long recovery took."""
    by_fault: dict[str, list[Outcome]] = {}
    for trial in trials:
        for outcome in trial.outcomes:
            by_fault.setdefault(outcome.fault, []).append(outcome)
    lines = ["| fault | runs | failures | recovery p50, s | longest, s |", "|---|---|---|---|---|"]
    for name, outcomes in sorted(by_fault.items()):
        took = [outcome.seconds for outcome in outcomes]
        failures = sum(bool(outcome.wrong) for outcome in outcomes)
        lines.append(f"| {name} | {len(outcomes)} | {failures} | {statistics.median(took):.1f} | {max(took):.1f} |")
    return "\n".join(lines)


def run(seeds: list[int], at_once: int, results: Path) -> int:
    """Run the seeds; returns how many failed."""
    template = open_folder()
    trials: list[Trial] = []
    try:
        make_template(template)
        with ProcessPoolExecutor(at_once, get_context("spawn"), max_tasks_per_child=1) as pool:
            logs = results.with_suffix(".logs")
            started = [pool.submit(run_trial, seed, template, keep_log=logs) for seed in seeds]
            for done in as_completed(started):
                trial = done.result()
                trials.append(trial)
                said = trial.skipped or "; ".join(trial.failures) or "well"
                print(f"seed {trial.seed} ({trial.layout}, {trial.seconds} s): {said}", flush=True)
                results.write_text(json.dumps([asdict(one) for one in trials], indent=1), encoding="utf-8")
    finally:
        shutil.rmtree(template)
    failed = [trial.seed for trial in trials if trial.failures]
    asked, unanswered = (sum(getattr(trial, name) for trial in trials) for name in ("asked", "unanswered"))
    print(f"\n{table(trials)}\n")
    print(f"{len(trials)} seeds, {len(failed)} failed {sorted(failed)}; {asked} questions, {unanswered} unanswered")
    return len(failed)


def main() -> None:
    """Read what to run."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust")
    parser.add_argument("seeds", type=int, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("trust.json"))
    told = parser.parse_args()
    sys.exit(run(list(range(told.first, told.first + told.seeds)), told.at_once, told.results) > 0)


if __name__ == "__main__":
    main()
