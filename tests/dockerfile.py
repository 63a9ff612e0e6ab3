# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dockerfiles as lists of instructions: enough of the language for ours."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction as it stands there, continued lines joined."""

    line: int
    name: str
    text: str

    def words(self, known: Mapping[str, str]) -> list[str]:
        """Its words with variables filled in, options (`--from=x`) included."""
        return shlex.split(fill_in(self.text, known))

    def assignments(self, known: Mapping[str, str]) -> dict[str, str]:
        """Of ENV and ARG: names and values; an ARG without one has None's place taken by the empty text."""
        pairs = [word.partition("=") for word in self.words(known)]
        return {name: value for name, _, value in pairs}

    def command(self) -> list[str]:
        """Of RUN, CMD, ENTRYPOINT: what is executed; a text goes to the shell."""
        return json.loads(self.text) if self.text.startswith("[") else ["/bin/sh", "-eu", "-c", self.text]


@dataclass
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction | None:
        """The instruction of that name that counts."""
        return next((one for one in reversed(self.instructions) if one.name == name), None)


@dataclass
class Dockerfile:
    """Stages by name, and the arguments before the first."""

    arguments: dict[str, str]
    stages: dict[str, Stage]

    def way_to(self, name: str) -> list[Stage]:
        """The stages that lie one upon the other up to that one, the lowest first."""
        stage = self.stages[name]
        base = fill_in(stage.base, self.arguments)
        return [*(self.way_to(base) if base in self.stages else []), stage]


def fill_in(text: str, known: Mapping[str, str]) -> str:
    """The text with `$NAME` and `${NAME}` replaced; what is not known stays."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], found[0]), text)


def instructions(text: str) -> Iterator[Instruction]:
    """All instructions, comments left out."""
    waiting: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not waiting):
            continue
        start = start if waiting else number
        waiting.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            name, _, rest = " ".join(waiting).partition(" ")
            yield Instruction(start, name, rest.strip())
            waiting = []


def parse(path: Path) -> Dockerfile:
    """The Dockerfile at `path`. Raises AssertionError where it is not one we understand."""
    read = Dockerfile({}, {})
    stage: Stage | None = None
    for one in instructions(path.read_text(encoding="utf-8")):
        if one.name == "FROM":
            base, keyword, name = one.text.split()
            assert keyword == "AS", f"line {one.line}: a stage without a name"
            stage = read.stages[name] = Stage(base, name)
        elif stage is None:
            assert one.name == "ARG", f"line {one.line}: {one.name} before the first stage"
            read.arguments |= one.assignments({})
        else:
            stage.instructions.append(one)
    return read
