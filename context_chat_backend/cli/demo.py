# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make run`: index the sample folder, ask one question for each of its two users, and go on serving."""

from __future__ import annotations

from pathlib import Path

from context_chat_backend.cli.index import files_in, index
from context_chat_backend.cli.show import console, show_answer
from context_chat_backend.domain import Principal, Question, Realm
from context_chat_backend.wiring import Backend

QUESTION = "What is the budget for the roof repair?"
_READERS = {"shared": ("alice", "bob"), "alice": ("alice",), "bob": ("bob",)}


async def show(backend: Backend, samples: Path) -> None:
    """Index the folders of `samples`, each for its readers, and print one cited answer for each user."""
    console.print(f"Indexing [bold]{samples.name}/[/] …")
    for folder, names in _READERS.items():
        readers = frozenset(Principal(Realm.LOCAL, name) for name in names)
        console.print(f"  {folder}/ may be read by {' and '.join(names)}")
        outcome = await index(
            backend,
            list(files_in(samples / folder)),
            readers,
            lambda file, said: console.print(f"    {file.name}: {said}"),
            base=samples,
        )
        console.print(f"    indexed {outcome.admitted}, unchanged {outcome.unchanged}, rejected {outcome.rejected}")
    for name in ("alice", "bob"):
        question = Question(QUESTION, Principal(Realm.LOCAL, name))
        show_answer(name, QUESTION, await backend.answer(question))
    port = backend.config.app.port
    console.print(
        f"\nServing on http://{backend.config.app.host}:{port} until Ctrl-C. In another terminal:\n"
        '  .venv/bin/python main.py ask --user alice "When is the lift serviced?"\n'
        "  .venv/bin/python main.py index ~/Documents --user me\n"
        "  .venv/bin/python main.py status\n"
        "To connect Nextcloud: README.md, section Nextcloud."
    )
