# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instructions stay inside: a model that was talked into reciting them is not heard.

Letters alone are compared, so that other cases, marks, digits or blanks between them change nothing. A model can still
be made to paraphrase, translate or encode what it reads: secrets do not belong into instructions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

WITHHELD = "(…)"
"""What stands in the place of recited instructions."""
RECITED_LETTERS = 40
"""A row of so many letters is no coincidence. Ideographs count three times."""

_WINDOW = 12
"""From so many letters on text is held back until it is clear what it becomes."""
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|「[^」\n]*」")
"""What instructions quote is to be said."""
_WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class Discreet:
    """What a model writes without the instructions it was given, piece by piece."""

    def __init__(self, instructions: Sequence[str], known: Sequence[str]) -> None:
        """`known` texts may be said although the instructions hold them: the reader has them anyway."""
        rows = [_letters(_QUOTED.sub(" ", text)) for text in instructions]
        self._windows = {row[start : start + _WINDOW] for row in rows for start in range(len(row) - _WINDOW + 1)}
        self._known = known
        self._tail = ""
        self._row = ""
        self._held = ""

    def add(self, piece: str) -> str:
        """What follows in the text, as far as it is clear."""
        if not self._windows:
            return piece
        out: list[str] = []
        for character in piece:
            letters = _letters(character)
            self._tail = (self._tail + letters)[-_WINDOW:]
            if not letters:
                if self._row:
                    self._held += character
                else:
                    out.append(character)
            elif self._tail in self._windows:
                self._row = self._row + letters if self._row else self._tail
                self._held += character
            else:
                out.append(self._settled())
                out.append(character)
        return "".join(out)

    def end(self) -> str:
        """The rest, when the model has written all."""
        return self._settled()

    def _settled(self) -> str:
        """What was held back, or what stands in its place, now that the row is over."""
        row, held = self._row, self._held
        self._row = self._held = ""
        if len(row) + 2 * len(_WIDE.findall(row)) < RECITED_LETTERS or self._is_known(row):
            return held
        return f"{WITHHELD}{held[len(held.rstrip()) :]}"

    def _is_known(self, row: str) -> bool:
        return any(row in _letters(text) for text in self._known)


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalpha())
