# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write docs/answer.svg, the picture of the README, anew: `python -m docs.make_picture`, once `make run` was run."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from rich.console import Console

from context_chat_backend.cli import show
from context_chat_backend.cli.demo import QUESTION
from context_chat_backend.cli.start import open_backend, read_configuration
from context_chat_backend.domain import Principal, Question, Realm


async def main() -> None:
    """Ask for both users of the samples, and record what the terminal shows."""
    show.console = Console(record=True, width=84, highlight=False)
    async with open_backend(read_configuration(quiet=True), indexing=False) as backend:
        for name in ("alice", "bob"):
            answer = await backend.answer(Question(QUESTION, Principal(Realm.LOCAL, name)))
            show.show_answer(name, QUESTION, answer)
    picture = show.console.export_svg(title="make run")
    # The reader's own fonts: pictures of a README load nothing from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = picture.replace("<svg ", "<!-- SPDX-License-Identifier: AGPL-3.0-or-later -->\n<svg ", 1)
    Path(__file__).with_name("answer.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
