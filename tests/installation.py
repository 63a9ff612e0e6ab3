# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program beside the double: both as processes, all between them over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.nextcloud_double.process import Nextcloud
from tests.program import SECRET, Program

CONFIGURATION = "embedding:\n  hashing:\nllm:\n  {llm}:\n"


@contextmanager
def installed(
    nextcloud: Nextcloud, storage: Path, database: str, *, llm: str = "extractive", more: str = "", **environment: str
) -> Iterator[Program]:
    """A program that runs and was told where Nextcloud is; nothing is registered. `more` ends its config.yaml."""
    program = prepare(nextcloud, storage, database, llm=llm, more=more, environment=environment, forked=True)
    try:
        program.start(enable=False)
        yield program
    finally:
        program.stop()
        program.client.close()


def prepare(
    nextcloud: Nextcloud,
    storage: Path,
    database: str,
    *,
    llm: str,
    environment: Mapping[str, str],
    more: str = "",
    forked: bool = False,
) -> Program:
    """A program that does not run yet."""
    storage.mkdir(parents=True, exist_ok=True)
    (storage / "config.yaml").write_text(CONFIGURATION.format(llm=llm) + more)
    known = {"NEXTCLOUD_URL": nextcloud.url, "CCB_DB_URL": database}
    return Program(storage, known | dict(environment), forked=forked)


def register(nextcloud: Nextcloud, program: Program) -> None:
    """`occ app_api:app:register`, and a look that it went well (the command's own word is not trusted: trap 2)."""
    assert nextcloud.register(f"http://127.0.0.1:{program.port}", SECRET) == {"exit_code": 0, "error": ""}
    # AppAPI enables the app beside the command, which does not wait for it.
    nextcloud.wait(lambda: any(call["path"] == "/enabled?enabled=1" for call in nextcloud.get("/app")["calls"]))
    assert nextcloud.get("/app")["enabled"]


def agree(nextcloud: Nextcloud, program: Program, users: list[str], word: str = "garden") -> bool:
    """Whether each of these users finds exactly what the oracle says he may read. All texts hold `word`."""
    return all(
        set(program.search(user, word, limit=500)) == set(nextcloud.do("readable_by", user=user)) for user in users
    )
