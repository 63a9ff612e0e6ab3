# SPDX-License-Identifier: AGPL-3.0-or-later
"""How answers look on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from context_chat_backend.domain import Answer, Passage

console = Console(highlight=False)
complaints = Console(stderr=True, highlight=False)


def show_answer(user: str, question: str, answer: Answer) -> None:
    """The question, the answer with its markers, and what the markers point to."""
    text = Text(answer.text)
    for citation in answer.citations:
        text.stylize("bold cyan", citation.start, citation.end)
    cited = dict.fromkeys((answer.text[c.start : c.end], c.passage) for c in answer.citations)
    for marker, passage in cited:
        text.append(f"\n  {marker} {place(passage)}", style="dim")
    title = Text(f"{user}: {question}")
    console.print(Panel(text, title=title, title_align="left", subtitle=_writers(answer), border_style="cyan"))


def _writers(answer: Answer) -> str | None:
    """Who stood in for whom; None where the first model wrote, or nobody."""
    if not answer.unavailable:
        return None
    return f"by {answer.model}: {', '.join(answer.unavailable)} did not answer"


def place(passage: Passage) -> str:
    """Where a passage stands: title, then page, slide, sheet or heading."""
    location = passage.location
    details = [
        f"page {location.page}" if location.page is not None else "",
        f"slide {location.slide}" if location.slide is not None else "",
        f"sheet {location.sheet}" if location.sheet is not None else "",
        location.heading or "",
    ]
    return ", ".join([passage.title, *filter(None, details)])
