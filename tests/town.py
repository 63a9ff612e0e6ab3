# SPDX-License-Identifier: AGPL-3.0-or-later
"""A town whose people share, change and delete at random, and the oracle that knows who may read what."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests import commands
from tests.nextcloud_double.process import Nextcloud
from tests.program import Program, part

CARDS = "deck__cards"
MAIL = "mail__messages"
_LARGE_SHARE = 0.3
WORD = "garden"
"""All texts hold it."""


@dataclass(frozen=True, eq=False)
class Loss:
    """One time that a user loses a source."""

    ref: str
    user: str


class Oracle:
    """Who may read what, in the plainest words there are; safe to ask while it changes."""

    def __init__(self) -> None:
        self.readers: dict[str, set[str]] = {}
        self.texts: dict[str, str] = {}
        """The word that only the newest version of a source holds."""
        self.lock = threading.RLock()
        self._until: dict[tuple[str, str], float] = {}
        """Until when a user may be given a source: for ever, or until its loss was acknowledged."""
        self._unacknowledged: list[Loss] = []
        self._losses: dict[tuple[str, str], Loss] = {}
        """The last one of each source and user: what was granted and lost again is not over with an earlier loss."""
        self._finds: set[tuple[str, str]] = set()
        """Who was given a source when all was quiet, and has not lost it since."""
        self.losers: deque[str] = deque(maxlen=8)
        """Who has lost something a moment ago: a leak is found by asking these first."""
        self.gone_users: set[str] = set()
        self.gone_texts: set[str] = set()

    def grant(self, ref: str, users: Iterable[str]) -> None:
        """Before it is asked for: these users may be given the source from now on."""
        with self.lock:
            readers = self.readers.setdefault(ref, set())
            readers |= set(users)
            self._until |= {(ref, user): math.inf for user in users}

    def revoke(self, ref: str, users: Iterable[str]) -> list[Loss]:
        """Before it is asked for; what ends with its acknowledgement."""
        with self.lock:
            lost = [Loss(ref, user) for user in users if user in self.readers[ref]]
            for loss in lost:
                self.readers[ref].discard(loss.user)
                self._finds.discard((ref, loss.user))
                self._losses[ref, loss.user] = loss
            return lost

    def forget(self, ref: str) -> list[Loss]:
        """Before its deletion is asked for."""
        with self.lock:
            lost = self.revoke(ref, set(self.readers[ref]))
            del self.readers[ref]
            if (text := self.texts.pop(ref, None)) is not None:
                self.gone_texts.add(text)
            return lost

    def queued(self, lost: list[Loss]) -> None:
        """These losses stand in a queue of Nextcloud."""
        with self.lock:
            self._unacknowledged += lost

    def acknowledged_when(self, queues_are_empty: Callable[[], bool]) -> None:
        """What stands in the queues now is acknowledged, if they are empty. What comes in meanwhile is not."""
        with self.lock:
            standing = list(self._unacknowledged)
        if queues_are_empty():
            with self.lock:
                self.acknowledged(standing)
                self._unacknowledged = [loss for loss in self._unacknowledged if loss not in standing]

    def acknowledged(self, lost: list[Loss]) -> None:
        """From now on no search that starts gives these, where they were not granted anew."""
        now = time.monotonic()
        with self.lock:
            for loss in lost:
                pair = loss.ref, loss.user
                if loss.user not in self.readers.get(loss.ref, set()) and self._losses[pair] is loss:
                    self._until[pair] = min(self._until.get(pair, now), now)
                    self.losers.append(loss.user)

    def all_found(self) -> None:
        """Everybody found just now what he may read."""
        with self.lock:
            self._finds = {(ref, user) for ref, readers in self.readers.items() for user in readers}

    def expected(self, user: str) -> set[str]:
        """What a search by `user` finds at least, while nothing of it is taken away."""
        with self.lock:
            return {ref for ref, finder in self._finds if finder == user}

    def judge(self, user: str, found: list[str], began: float, expected: set[str]) -> list[str]:
        """What is wrong with an answer to a search that `began` then (time.monotonic)."""
        with self.lock:
            wrong = [f"{user} was given {ref}" for ref in found if self._until.get((ref, user), -math.inf) < began]
            missing = sorted(expected & self.expected(user) - set(found))
        wrong += [f"{user} was not given {ref}" for ref in missing]
        return wrong + ([f"{user} was given a source twice"] if len(found) != len(set(found)) else [])


class Town:
    """What is done at random, and what comes of it."""

    def __init__(
        self, seed: int, nextcloud: Nextcloud, program: Program, *, sources: int, users: int, pushes: int = 0
    ) -> None:
        """`sources` are in Nextcloud's queues, two thirds of them files; `pushes` further ones are pushed."""
        self.random = random.Random(seed)
        self.sources = sources
        self.pushes = pushes
        self.users = [f"user{n}" for n in range(users)]
        self.nextcloud = nextcloud
        self.program = program
        self.oracle = Oracle()
        self.padding_bytes = 0
        """What makes some pushes large."""
        self._versions = 0

    def begin(self) -> None:
        """Users and sources."""
        self.nextcloud.do("add_users", names=self.users)
        for n in range(self.sources):
            if n % 3:
                self.put_file(f"file{n}")
            else:
                self.put_card(n)
        for n in range(self.pushes):
            self.push(f"{MAIL}: {n}", self.some_users())

    def act(self) -> None:
        """One thing that happens."""
        ref = self.random.choice(sorted(self.oracle.readers))
        if ref.startswith(MAIL):
            self.random.choice([self.push_again, self.allow, self.deny, self.push_again, self.deny])(ref)
        else:
            kinds = [self.share, self.unshare, self.share, self.unshare, self.declare, self.change, self.wide]
            self.random.choice(kinds)(ref)
        if self.random.random() < 0.03:
            self.delete(self.random.choice(sorted(self.oracle.readers)))

    # by Nextcloud's queues

    def put_file(self, name: str) -> None:
        """A new file."""
        readers, text = self.some_users(), self.new_text()
        with self.oracle.lock:  # its number is known afterwards
            number = self.nextcloud.do("put_file", path=f"{name}.txt", readers=sorted(readers), text=f"the {text}")
            self.oracle.grant(f"files__default: {number}", readers)
            self.oracle.texts[f"files__default: {number}"] = text

    def put_card(self, number: int) -> None:
        """A new card."""
        readers, text = self.some_users(), self.new_text()
        ref = f"{CARDS}: {number}"
        self.oracle.grant(ref, readers)
        self.oracle.texts[ref] = text
        card = {"provider": CARDS, "item": str(number), "title": f"card{number}", "content": f"the {text}"}
        self.nextcloud.do("submit", **card, readers=sorted(readers))

    def share(self, ref: str) -> None:
        """What nobody reads is deleted, and comes back with its next change only."""
        users = self.some_users()
        if self.oracle.readers[ref]:
            self.oracle.grant(ref, users)
            self.access(ref, "allow", users)

    def unshare(self, ref: str) -> None:
        """It is taken from some users."""
        users = self.some_users()
        lost = self.oracle.revoke(ref, users)
        self.access(ref, "deny", users)
        self.oracle.queued(lost)

    def declare(self, ref: str) -> None:
        """Exactly these may read it."""
        if self.oracle.readers[ref]:
            users = self.some_users()
            self.oracle.grant(ref, users)
            lost = self.oracle.revoke(ref, self.oracle.readers[ref] - users)
            self.nextcloud.do("declare_readers", ref=ref, users=sorted(users))
            self.oracle.queued(lost)

    def change(self, ref: str) -> None:
        """Files only: an app's content cannot be ordered among the actions on it (docs/nextcloud.md)."""
        if ref.startswith("files") and (readers := self.oracle.readers[ref]):
            text, number = self.new_text(), int(ref.rpartition(" ")[2])
            self.oracle.texts[ref] = text
            self.nextcloud.do(
                "put_file", path=f"{number}.txt", readers=sorted(readers), text=f"the {text}", file_id=number
            )

    def wide(self, ref: str) -> None:
        """Everything of an app is taken from users, or one user goes for good."""
        users = self.some_users()
        if self.random.random() < 0.1 and len(self.users) > 4:
            gone = self.users.pop()
            lost = self._revoke_everywhere({gone}, "")
            self.nextcloud.do("delete_user", user=gone)
            self.oracle.gone_users.add(gone)
        else:
            lost = self._revoke_everywhere(users, CARDS)
            self.nextcloud.do("share_provider", provider=CARDS, op="deny", users=sorted(users))
        self.oracle.queued(lost)

    def delete(self, ref: str) -> None:
        """A file, or a pushed source, is deleted."""
        if len(self.oracle.readers) <= 5 or ref.startswith(CARDS):
            return
        lost = self.oracle.forget(ref)
        if ref.startswith(MAIL):
            self.tell("/deleteSources", {"sourceIds": [ref]})
            self.oracle.acknowledged(lost)
        else:
            self.nextcloud.do("delete_file", file_id=int(ref.rpartition(" ")[2]))
            self.oracle.queued(lost)

    def access(self, ref: str, op: str, users: set[str]) -> None:
        """A change of readers in Nextcloud."""
        if ref.startswith("files"):
            do = "share" if op == "allow" else "unshare"
            self.nextcloud.do(do, file_id=int(ref.rpartition(" ")[2]), users=sorted(users))
            return
        self.nextcloud.do("change_item", ref=ref, op=op, users=sorted(users))

    # by requests to the program

    def push(self, ref: str, readers: set[str]) -> None:
        """Deliver a new version with these readers."""
        text = self.new_text()
        self.oracle.grant(ref, readers)
        lost = self.oracle.revoke(ref, self.oracle.readers[ref] - readers)
        self.oracle.texts[ref] = text
        padding = b"\n" * (self.random.random() < _LARGE_SHARE) * self.padding_bytes
        delivered = part(
            ref,
            f"the {text}".encode() + padding,
            users=",".join(sorted(readers)),
            modified=str(1_718_000_000 + self._versions),
        )
        self.send(delivered)
        self.oracle.acknowledged(lost)

    def push_again(self, ref: str) -> None:
        """A new version."""
        if self.oracle.readers[ref]:
            self.push(ref, set(self.oracle.readers[ref]))

    def allow(self, ref: str) -> None:
        """A pushed source is shared."""
        if self.oracle.readers[ref]:
            users = self.some_users()
            self.oracle.grant(ref, users)
            self.tell("/updateAccess", {"op": "allow", "userIds": sorted(users), "sourceId": ref})

    def deny(self, ref: str) -> None:
        """A pushed source is taken from some; one always stays."""
        users = self.some_users()
        if self.oracle.readers[ref] - users:
            lost = self.oracle.revoke(ref, users)
            self.tell("/updateAccess", {"op": "deny", "userIds": sorted(users), "sourceId": ref})
            self.oracle.acknowledged(lost)

    def send(self, delivered: bytes) -> None:
        """Push until it is acknowledged."""
        answer = self.program.load([delivered])
        assert answer.json()["sources_to_retry"] == [], answer.text

    def tell(self, path: str, body: dict[str, Any]) -> None:
        """An action, until it is acknowledged."""
        self.program.post(path, body)

    # what comes of it

    def ask(self) -> None:
        """A search by somebody: what it finds he may read, or could when the queues were last empty."""
        user = self.random.choice([*self.users, "nobody"])
        self.oracle.acknowledged_when(self.nextcloud.queues_are_empty)
        began, expected = time.monotonic(), self.oracle.expected(user)
        assert self.oracle.judge(user, self.program.search(user, WORD, limit=500), began, expected) == []

    def comes_to_rest(self, seconds: float = 120) -> None:
        """Wait until everybody finds exactly what he may read, and say who does not."""
        half = time.monotonic() + seconds / 2
        while not self.nextcloud.queues_are_empty() and time.monotonic() < half:
            time.sleep(0.2)
        if not self.nextcloud.queues_are_empty():
            # A kill may lose the answer to a lease: such rows come back after a day (docs/nextcloud.md).
            self.nextcloud.do("move_clock", seconds=86_401)
            self.program.client.post("/trigger")
            self.nextcloud.wait(self.nextcloud.queues_are_empty, seconds)
        deadline = time.monotonic() + seconds
        while (differing := self.differing()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert differing == [], (differing, self._explain(differing[0][2]))

    def differing(self) -> list[tuple[str, str, str]]:
        """Users and the sources they find and may not read, or may read and do not find."""
        found: list[tuple[str, str, str]] = []
        for user in self.users:
            finds = set(self.program.search(user, WORD, limit=500))
            may_read = {ref for ref, readers in self.oracle.readers.items() if user in readers}
            found += [(user, "may not read", ref) for ref in sorted(finds - may_read)]
            found += [(user, "does not find", ref) for ref in sorted(may_read - finds)]
        return found

    def _explain(self, ref: str) -> str:
        done = commands.run("status", ref, environment=self.program.environment)
        return done.stdout + done.stderr

    def some_users(self) -> set[str]:
        """One to six."""
        return set(self.random.sample(self.users, self.random.randint(1, min(6, len(self.users)))))

    def new_text(self) -> str:
        """What only this version of a source says."""
        self._versions += 1
        return f"{WORD} version{self._versions}x"

    def _revoke_everywhere(self, users: set[str], provider: str) -> list[Loss]:
        with self.oracle.lock:
            refs = [ref for ref in self.oracle.readers if ref.startswith(provider)]
            return [loss for ref in refs for loss in self.oracle.revoke(ref, users)]
