# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an editor has open, as a model is asked to go on with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from context_chat_backend.completing.templates import Template
from context_chat_backend.domain import Message, Passage
from context_chat_backend.errors import CursorOutOfRange, PromptTooLong
from context_chat_backend.token_estimates import careful_tokens

LEAST_TOKENS = 512
"""Fewer for the code are no use."""
CURSOR = "<CURSOR>"
"""Where an instruct model is to write."""
_INSTRUCTIONS = f"""\
You complete code. The user sends a file in which {CURSOR} marks one place. Answer with the text that belongs there \
and with nothing else: no explanation, no fence, nothing that stands in the file already."""


@dataclass(frozen=True, slots=True)
class Around:
    """A text on both sides of a cursor."""

    before: str
    after: str


def at_cursor(text: str, line: int, character: int) -> Around:
    """`text` around a place: the line counts from 0, the character code points in it. Raises CursorOutOfRange."""
    lines = text.replace("\r\n", "\n").split("\n")
    if not 0 <= line < len(lines):
        raise CursorOutOfRange(f"inputs: cursor.line: the file has the lines 0 to {len(lines) - 1}")
    if not 0 <= character <= len(lines[line]):
        raise CursorOutOfRange(f"inputs: cursor.character: this line has {len(lines[line])} characters")
    here = lines[line]
    before = "".join(f"{one}\n" for one in lines[:line]) + here[:character]
    after = here[character:] + "".join(f"\n{one}" for one in lines[line + 1 :])
    return Around(before, after)


def fitting(around: Around, tokens: int) -> Around:
    """As much around the cursor as fits, lines taken in turn from above and below. Raises PromptTooLong."""
    if tokens < LEAST_TOKENS:
        raise PromptTooLong(f"parameters: the model has room for {max(0, tokens)} tokens of code: ask for fewer")
    above, below = around.before.split("\n"), around.after.split("\n")[::-1]  # the nearest line is the last of both
    taken_above, taken_below = [above.pop()[-tokens:]], [below.pop()[:tokens]]
    left = tokens - estimated(taken_above[0]) - estimated(taken_below[0])
    while above or below:
        for lines, taken in ((above, taken_above), (below, taken_below)):
            if lines:
                left -= estimated(lines[-1]) + 1
                if left < 0:
                    return _joined(taken_above, taken_below)
                taken.append(lines.pop())
    return _joined(taken_above, taken_below)


def estimated(text: str) -> int:
    """About how many tokens a text has; none for an empty one."""
    return careful_tokens(text)


def quoted_code(passages: Sequence[Passage], template: Template, tokens: int) -> str:
    """As many of the passages, best first, as fit, before the code: as other files, else as comments."""
    said, left = "", tokens
    for passage in passages:
        title, text = (template.without_marks(one) for one in (passage.title, passage.text))
        if template.file:
            block = f"{template.file}{title}\n{text}\n"
        else:
            block = "".join(f"# {line}\n" for line in [title, *text.splitlines()]) + "\n"
        left -= estimated(block)
        if left < 0:
            break
        said += block
    return said


def in_words(around: Around, said_before: str) -> list[Message]:
    """What an instruct model is asked."""
    said_before, before, after = map(_without_cursor, (said_before, around.before, around.after))
    return [Message("system", _INSTRUCTIONS), Message("user", f"{said_before}{before}{CURSOR}{after}")]


def ended(text: str, ends: Sequence[str]) -> str:
    """`text` up to the first of `ends`, without carriage returns."""
    places = [place for end in ends if (place := text.find(end)) >= 0]
    return text[: min(places, default=len(text))].replace("\r", "")


def unfenced(text: str) -> str:
    """What an instruct model answers, without the fence it may put around it all the same."""
    lines = text.split("\n")
    if lines[0].startswith("```"):
        lines = lines[1:]
        if "```" in lines:
            lines = lines[: lines.index("```")]
    return "\n".join(lines)


def _without_cursor(text: str) -> str:
    """Without the mark, also where taking one out leaves another."""
    kept: list[str] = []
    for character in text:
        kept.append(character)
        if character == CURSOR[-1] and "".join(kept[-len(CURSOR) :]) == CURSOR:
            del kept[-len(CURSOR) :]
    return "".join(kept)


def _joined(above: Sequence[str], below: Sequence[str]) -> Around:
    return Around("\n".join(reversed(above)), "\n".join(below))
