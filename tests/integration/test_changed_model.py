# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program gets another embedding model while people search, is killed in the middle, and goes on."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.program import Program, part
from tests.waiting import until

SOURCES = 400
READERS = {"alice": 0, "bob": 1}
"""Who may read every other source beside carol, who may read all."""
HASHING, ONNX = "embedding:\n  hashing:\n    dimension: 64\n", "embedding:\n  onnx:\n"


def readers(number: int) -> set[str]:
    return {"carol", *(name for name, rest in READERS.items() if number % 2 == rest)}


def ref(number: int) -> str:
    return f"files__default: {number}"


def source(number: int) -> bytes:
    text = (
        f"Report {number} tells of the harbour, of ship{number} and of what its crew of {number % 40} had to eat. " * 3
    )
    return part(ref(number), text.encode(), users=",".join(sorted(readers(number))))


def load(program: Program, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, 50):
        batch = range(start, min(start + 50, numbers.stop))
        assert len(program.load(source(number) for number in batch).json()["loaded_sources"]) == len(batch)


class Books:
    """What stands in the database."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def spaces(self) -> dict[str, int]:
        """The id of the space in each state."""
        return dict(self._connection.execute("SELECT state, id FROM embedding_space").fetchall())

    def embedded(self, space: int) -> set[int]:
        """The chunks that have a vector in a space; none when it is gone."""
        with suppress(psycopg.errors.UndefinedTable):
            rows = self._connection.execute(f"SELECT chunk_id FROM embedding_{space}".encode())
            return {id_ for (id_,) in rows.fetchall()}
        return set()

    def chunks(self) -> set[int]:
        return {id_ for (id_,) in self._connection.execute("SELECT chunk_id FROM words").fetchall()}

    def let_time_pass(self) -> None:
        self._connection.execute("UPDATE embedding_space SET retired_at = retired_at - interval '10 minutes'")

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        until(condition, seconds, said=self.spaces)


class Askers:
    """People who search without a pause, and note what they must not have seen."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._stopped = threading.Event()
        self.answered = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Askers:
        self._threads = [threading.Thread(target=self._ask, args=(user,)) for user in (*READERS, "carol", "nobody")]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, user: str) -> None:
        for number in cycle(range(1, SOURCES)):
            if self._stopped.is_set():
                return
            asked = {"query": f"the crew of ship{number}", "userId": user, "ctxLimit": 5}
            with suppress(httpx.TransportError):  # while the program is down
                answer = self._program.client.post("/docSearch", json=asked)
                if answer.status_code != 503:  # nor while it starts
                    self._judge(user, number, answer)

    def _judge(self, user: str, number: int, answer: httpx.Response) -> None:
        self.answered += 1
        if answer.status_code != 200:
            self.wrong.append(f"{answer.status_code}: {answer.text}")
            return
        found = [source["source_id"] for source in answer.json()]
        allowed = [item for item in found if user in readers(int(item.split(": ")[1]))]
        complete = not found if user == "nobody" else len(found) == 5
        hit = user not in readers(number) or ref(number) in found
        if allowed != found or not complete or not hit:
            self.wrong.append(f"{user} asked for {number}: {found}")


@contextmanager
def running(database_url: str, storage: Path, configuration: str) -> Iterator[Program]:
    (storage / "config.yaml").write_text(configuration, encoding="utf-8")
    with Program(storage, {"CCB_DB_URL": database_url}) as program:
        yield program


def status(program: Program) -> dict[str, object]:
    """What `status --json` says of embedding."""
    said: dict[str, object] = json.loads(program.run_command("status", "--json"))["embedding"]
    return said


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    books = Books(database_url)
    yield books
    books.close()


@pytest.mark.slow
def test_a_changed_model_comes_to_answer_while_people_search_and_the_program_is_killed(
    database_url: str, storage: Path, books: Books
) -> None:
    with running(database_url, storage, HASHING) as program:
        load(program, range(SOURCES))
        program.wait_for_indexed(SOURCES)
    old = books.spaces()["answering"]
    assert books.embedded(old) == books.chunks()

    with running(database_url, storage, ONNX) as program:
        with Askers(program) as askers:
            new = books.spaces()["filling"]
            books.until(lambda: len(books.embedded(new)) >= 50)
            program.stop(signal.SIGKILL)
            done = books.embedded(new)
            assert len(done) < SOURCES
            assert books.spaces() == {"answering": old, "filling": new}

            program.start()
            assert done <= books.embedded(new)
            said = status(program)
            assert (said["answering"], said["by_meaning"], said["chunks"]) == ("hashing", True, SOURCES)
            assert 0 < float(str(said["share"])) <= 1
            load(program, range(SOURCES, SOURCES + 5))
            program.post("/deleteSources", {"sourceIds": [ref(0)]})
            books.until(lambda: books.spaces() == {"answering": new, "retired": old})
            program.wait_for_indexed(SOURCES + 4)
            answered = askers.answered
            books.until(lambda: askers.answered > answered + 20, seconds=30)

        assert askers.wrong == []
        assert len(done - books.embedded(new)) <= 1  # that of the source which was deleted
        books.until(lambda: books.embedded(new) == books.chunks())
        assert len(books.chunks()) == SOURCES + 4
        books.let_time_pass()
        books.until(lambda: books.spaces() == {"answering": new} and not books.embedded(old))
        assert status(program)["filling"] is None
        assert program.search("carol", f"ship{SOURCES + 3}", limit=1) == [ref(SOURCES + 3)]
