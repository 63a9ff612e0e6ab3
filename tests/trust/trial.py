# SPDX-License-Identifier: AGPL-3.0-or-later
"""One trial: a town under load, faults, and after each of them all that must be true."""

from __future__ import annotations

import json
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.installation import register
from tests.nextcloud_double.process import SEARCH, Nextcloud
from tests.program import BOUNDARY, Program, headers
from tests.town import WORD, Town
from tests.trust.faults import FAULTS, Fault, layout_of
from tests.trust.place import Layout, Place, installed_place, may_mount
from tests.trust.remains import files_left, orphans, traces_of_the_deleted, verdicts_missing

RECOVERY_SECONDS = 30.0
"""Within it everything is as it should be, without anybody's doing."""
_PATIENCE_SECONDS = 75.0
_DAY = 86_401
_QUESTION_SECONDS = 8.0
_LONG_SHARE = 0.15
_ANSWERS_SHARE = 0.15
_TASKS_SHARE = 0.05
FIRST_SEEDS = len(FAULTS) // 2
"""They bring every fault to its turn."""


@dataclass
class Outcome:
    """What came of one fault."""

    fault: str
    seconds: float = 0.0
    """From the end of the fault until all was as it should be."""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Trial:
    """What came of one seed."""

    seed: int
    layout: str
    outcomes: list[Outcome] = field(default_factory=list)
    asked: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """What was wrong outside of any fault."""
    skipped: str = ""

    @property
    def failures(self) -> list[str]:
        """All that was wrong."""
        return self.wrong + [f"{outcome.fault}: {one}" for outcome in self.outcomes for one in outcome.wrong]


class PatientTown(Town):
    """Repeats, as the companion does, what was not acknowledged."""

    def __init__(self, seed: int, nextcloud: Nextcloud, program: Program, **sizes: int) -> None:
        super().__init__(seed, nextcloud, program, **sizes)
        self.padding_bytes = 400_000  # on their way these lie in a file
        self.client = httpx.Client(base_url=program.client.base_url, headers=headers(), timeout=10)

    def send(self, delivered: bytes) -> None:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        body = delivered + f"--{BOUNDARY}--\r\n".encode()
        self._until_acknowledged(lambda: self.client.put("/loadSources", content=body, headers=kind))

    def tell(self, path: str, body: dict[str, Any]) -> None:
        self._until_acknowledged(lambda: self.client.post(path, json=body))

    def _until_acknowledged(self, sent: Callable[[], httpx.Response]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                answer = sent()
                if answer.status_code == 200 and not (
                    answer.request.url.path == "/loadSources" and answer.json()["sources_to_retry"]
                ):
                    return
                assert answer.status_code >= 500 or answer.status_code == 200, answer.text
            time.sleep(0.2)
        raise AssertionError("the program acknowledged nothing for a long time")


class Load:
    """People who act, and people who ask, each in a thread of their own."""

    def __init__(self, town: PatientTown, seed: int) -> None:
        self._town = town
        self._random = random.Random(seed + 1_000_003)
        self._client = httpx.Client(base_url=town.program.client.base_url, headers=headers(), timeout=_QUESTION_SECONDS)
        self._ended = threading.Event()
        self._acting = threading.Event()
        self._idle = threading.Event()
        self.asked = self.unanswered = 0
        self.wrong: list[str] = []
        self._tasks: deque[tuple[int, str, float]] = deque(maxlen=50)
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._act, self._ask)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._acting.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def act(self) -> None:
        """Let people act."""
        self._acting.set()

    def rest(self) -> None:
        """Nobody acts any more, once what was begun is acknowledged. Questions go on."""
        self._acting.clear()
        self._idle.clear()
        if not self._idle.wait(_PATIENCE_SECONDS):
            self.wrong.append("an action was not acknowledged")

    def take_wrong(self) -> list[str]:
        """What was wrong since the last time."""
        wrong, self.wrong = self.wrong, []
        return wrong

    def _run(self, work: Callable[[], None]) -> None:
        while not self._ended.is_set():
            try:
                work()
            except Exception:
                self.wrong.append(traceback.format_exc(limit=-3))
                self._ended.wait(1.0)

    def _act(self) -> None:
        if not self._acting.is_set():
            self._idle.set()
            self._acting.wait()
            return
        self._town.act()
        time.sleep(self._random.uniform(0, 0.06))

    def _ask(self) -> None:
        town = self._town
        town.oracle.acknowledged_when(town.nextcloud.queues_are_empty)
        try:
            user = town.oracle.losers.pop()
        except IndexError:
            user = self._random.choice([*town.users, *sorted(town.oracle.gone_users), "nobody"])
        if self._random.random() < _TASKS_SHARE:
            at = time.monotonic()
            self._tasks.append((town.nextcloud.schedule(SEARCH, user, WORD, trigger=False), user, at))
        self._judge_tasks()
        wants_answer = self._random.random() < _ANSWERS_SHARE
        began, expected = time.monotonic(), set() if wants_answer else town.oracle.expected(user)
        answer = self._answered("/query" if wants_answer else "/docSearch", user)
        if answer is None:
            self.unanswered += 1
            time.sleep(0.1)
            return
        found = answer["sources"] if wants_answer else [source["source_id"] for source in answer]
        self.wrong += town.oracle.judge(user, found, began, expected)
        time.sleep(self._random.uniform(0, 0.03))

    def _judge_tasks(self) -> None:
        """What was given to those who asked in the Assistant; tasks lost on their way out stay open."""
        if not self._tasks:
            return
        number, user, at = self._tasks.popleft()
        task = self._town.nextcloud.task(number)
        if task["endedAt"] is None:
            self._tasks.append((number, user, at))
        else:
            self.wrong += self._town.oracle.judge(user, sources_of(task), at, set())

    def _answered(self, path: str, user: str) -> Any:
        """What comes back; None where that is an error of the server, or nothing."""
        self.asked += 1
        try:
            answer = self._client.post(path, json={"query": WORD, "userId": user, "ctxLimit": 500})
        except httpx.TransportError:
            return None
        assert answer.status_code == 200 or answer.status_code >= 500, answer.text
        return answer.json() if answer.status_code == 200 else None


def plan(seed: int) -> tuple[Layout, list[Fault]]:
    """Layout and faults of a seed: the first seeds take two neighbours, later ones one in turn and one by chance."""
    if seed < FIRST_SEEDS:
        faults = FAULTS[2 * seed : 2 * seed + 2]
    else:
        first = FAULTS[seed % len(FAULTS)]
        others = [fault for fault in FAULTS if fault is not first and layout_of([first, fault]) is not None]
        faults = [first, random.Random(seed).choice(others)]
    layout = layout_of(faults)
    assert layout is not None
    return layout, faults


def run_trial(seed: int, template: Path, *, keep_log: Path | None = None) -> Trial:
    """Run a seed. `keep_log`: where the program's output is kept when something was wrong."""
    layout, faults = plan(seed)
    trial = Trial(seed, layout)
    if layout is Layout.SMALL_DISK and not may_mount():
        trial.skipped = "a small disk cannot be mounted here"
        return trial
    began = time.monotonic()
    with installed_place(template, layout) as place:
        try:
            _live(place, faults, trial)
        except Exception:
            trial.wrong.append(traceback.format_exc(limit=-4))
        if trial.failures and keep_log is not None:
            keep_log.mkdir(parents=True, exist_ok=True)
            told = place.program.output() + _database_log(place)
            (keep_log / f"seed-{seed}.log").write_text("\n".join(trial.failures) + "\n" + told, encoding="utf-8")
    trial.seconds = round(time.monotonic() - began, 2)
    return trial


def _database_log(place: Place) -> str:
    log = place.server._place.home / "postgres.log"
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def _live(place: Place, faults: list[Fault], trial: Trial) -> None:
    chance = random.Random(trial.seed)
    register(place.nextcloud, place.program)
    town = PatientTown(trial.seed, place.nextcloud, place.program, sources=18, users=7, pushes=9)
    town.begin()
    _rest(place, town)
    with Load(town, trial.seed) as load:
        for fault in faults:
            load.act()
            time.sleep(chance.uniform(0.3, 1.5))
            outcome = Outcome(fault.name)
            trial.outcomes.append(outcome)
            try:
                fault.happens(place, chance, _duration(trial.seed, chance))
                outcome.seconds = round(_recovered(place, town, load), 2)
                if outcome.seconds > RECOVERY_SECONDS:
                    outcome.wrong.append(f"it took {outcome.seconds} s to recover")
                outcome.wrong += _checked(place, town)
            except AssertionError as error:
                outcome.wrong.append(str(error) or traceback.format_exc(limit=-2))
            outcome.wrong += load.take_wrong()
        trial.asked, trial.unanswered = load.asked, load.unanswered


def _duration(seed: int, chance: random.Random) -> float:
    """Seconds; some of the later seeds' faults last so long that back-off grows."""
    if seed >= FIRST_SEEDS and chance.random() < _LONG_SHARE:
        return chance.uniform(8.0, 15.0)
    return chance.uniform(0.5, 3.0)


def _rest(place: Place, town: Town, seconds: float = _PATIENCE_SECONDS) -> None:
    """Until the queues are empty and everybody finds what is his."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            differing: list[Any] = town.differing() if town.nextcloud.queues_are_empty() else ["queues"]
            differing = differing or verdicts_missing(place.database_url, town.oracle)
        except (httpx.TransportError, psycopg.OperationalError, AssertionError) as error:
            differing = [str(error)[:200]]
        if not differing:
            town.oracle.acknowledged_when(lambda: True)
            town.oracle.all_found()
            return
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still: {differing[:5]}"
        time.sleep(0.1)


def _recovered(place: Place, town: Town, load: Load) -> float:
    """Seconds from now until everything is as the oracle says. Rows of a lost answer are given out again at once."""
    began = time.monotonic()
    load.rest()
    place.nextcloud.do("move_clock", seconds=_DAY)
    _rest(place, town)
    return time.monotonic() - began


def _checked(place: Place, town: PatientTown) -> list[str]:
    """(b) and (e), and a task that is answered; what is swept in the background gets its time."""
    _delete_one(town)
    wrong = _soon(
        lambda: (
            orphans(place.database_url)
            + files_left(place.program.storage)
            + traces_of_the_deleted(place.database_url, town.oracle)
        )
    )
    user = town.random.choice(town.users)
    task = place.nextcloud.ended(place.nextcloud.schedule(SEARCH, user, WORD), RECOVERY_SECONDS)
    found = set(sources_of(task))
    may_read = {ref for ref, readers in town.oracle.readers.items() if user in readers}
    if task["status"] != "STATUS_SUCCESSFUL" or not found <= may_read or bool(found) != bool(may_read):
        wrong.append(f"a task of {user} ended with {task['status']}: {sorted(found)} of {sorted(may_read)}")
    return wrong


def sources_of(task: dict[str, Any]) -> list[str]:
    """The ids of the sources a task was answered with."""
    return [json.loads(shown)["id"] for shown in (task["output"] or {}).get("sources") or []]


def _delete_one(town: PatientTown) -> None:
    """A source that was there for a moment: what remains of it is looked for, and sweeping it sweeps the sets too."""
    ref = "mail__messages: 999"
    town.push(ref, {town.users[0]})
    town.delete(ref)


def _soon(wrong: Callable[[], list[str]], seconds: float = 20.0) -> list[str]:
    """What is wrong still after a while."""
    deadline = time.monotonic() + seconds
    while (found := wrong()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found
