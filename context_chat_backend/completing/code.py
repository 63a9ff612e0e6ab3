# SPDX-License-Identifier: AGPL-3.0-or-later
"""Code at a cursor: the prompt a model gets for what an editor has open, and what of its answer is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from context_chat_backend.completing.editing import Around, at_cursor, ended, fitting, in_words, unfenced
from context_chat_backend.completing.models import ServedModel
from context_chat_backend.ports import Exchange


@dataclass(frozen=True, slots=True)
class CodeOrder:
    """What is to be written, and where."""

    text: str
    """The file."""
    line: int
    character: int
    multiline: bool
    temperature: float
    answer_tokens: int

    def around(self, model: ServedModel, passages_tokens: int) -> Around:
        """What the model is shown of the file. Raises CursorOutOfRange, PromptTooLong."""
        place = at_cursor(self.text, self.line, self.character)
        after = place.after if self.multiline else "".join(place.after.partition("\n")[1:])
        near = fitting(Around(place.before, after), model.context_tokens - self.tokens(model) - passages_tokens)
        return Around(model.template.without_marks(near.before), model.template.without_marks(near.after))

    def tokens(self, model: ServedModel) -> int:
        """How many tokens the answer may have."""
        return min(self.answer_tokens, model.answer_tokens)

    def asked(self, model: ServedModel, around: Around, said_before: str) -> tuple[Exchange, dict[str, Any]]:
        """What the model is asked, and how."""
        how = {"temperature": self.temperature, "max_tokens": self.tokens(model), "stream": False}
        if not model.template.fills:
            messages = [{"role": one.role, "content": one.text} for one in in_words(around, said_before)]
            return Exchange.CHAT, how | {"messages": messages}
        prompt = said_before + model.template.prompt(around.before, around.after)
        return Exchange.TEXT, how | {"prompt": prompt, "stop": self.ends(model)}

    def ends(self, model: ServedModel) -> list[str]:
        """Where the answer ends."""
        return [*model.template.ends, "\n\n", *([] if self.multiline else ["\n"])]

    def taken(self, model: ServedModel, said: str) -> str:
        """What of the model's answer belongs at the cursor."""
        return ended(said if model.template.fills else unfenced(said), self.ends(model))


def shown(body: Mapping[str, Any]) -> str:
    """The prompt of a request, as one text."""
    if "prompt" in body:
        return str(body["prompt"])
    return "\n\n".join(str(message["content"]) for message in body["messages"])
