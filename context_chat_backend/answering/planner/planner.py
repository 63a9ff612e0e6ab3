# SPDX-License-Identifier: AGPL-3.0-or-later
"""A message of a conversation becomes questions, a plan, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from context_chat_backend.answering.planner.architect import Architect, Notify, ignored
from context_chat_backend.answering.planner.asking import as_text
from context_chat_backend.answering.planner.choosing import complete
from context_chat_backend.answering.planner.material import Material
from context_chat_backend.answering.planner.model_help import ModelHelp, Spent
from context_chat_backend.answering.planner.model_reading import read_by_model
from context_chat_backend.answering.planner.model_wording import reworded
from context_chat_backend.answering.planner.plan import as_markdown, plan_of
from context_chat_backend.answering.planner.reading import Read, names_in, read
from context_chat_backend.answering.planner.requirements import Known, Required, require
from context_chat_backend.answering.planner.tools import Workplace
from context_chat_backend.answering.planner.wording import worded
from context_chat_backend.answering.planner.workload import CRITICAL
from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import Principal, Scope, SourceRef
from context_chat_backend.store.catalogues import Called

EMPTY = (
    "There is nothing to plan with: the catalogue of machines is empty. Load one with 'context-chat "
    "planner load compute "
    "<file>', or the samples with 'context-chat planner sample-data'."
)
_MODEL_NEEDED = (
    "The request could not be read: {failure}, and the rules are switched off (planner.extractor is "
    "'model'). Try again, "
    "or set planner.extractor to auto."
)
_NOTHING_KNOWN = (
    "I cannot plan without knowing anything of the workload. Still missing: {missing}. Say it in a "
    "sentence, for example: "
    "'Serve a 7B language model on a GPU for at most $1000 a month'."
)
_LOST = "Documents were left out that may not be read any more."
_NAMES = {
    "task_type": "what is to be done (serve, train, fine-tune)",
    "domain": "the kind of model (language, images, speech)",
    "gpu_needed": "whether a GPU is needed",
}
_MOST_MESSAGES = 30


@dataclass(frozen=True)
class Reply:
    """The answer to a message."""

    text: str
    """Markdown."""
    kind: str
    """'clarification', 'deployment_plan' or 'error'."""
    workload: dict[str, Any]
    state: dict[str, Any]
    """What the next message goes on from."""
    questions: tuple[str, ...] = ()
    plan: dict[str, Any] | None = None
    sources: tuple[SourceRef, ...] = field(default=())
    """Sources whose text stands in it."""


class Planner:
    """Plans for everybody; knows of no conversation but what it is told."""

    def __init__(self, place: Workplace, writers: Sequence[Writer] = ()) -> None:
        """Of `writers` the first that may be asked beside answers helps."""
        self.place = place
        self._writer = next((writer for writer in writers if writer.may_be_asked_beside), None)

    @property
    def uses_model(self) -> bool:
        """Whether a language model helps."""
        return self._writer is not None and self.place.settings.extractor != "rules"

    async def reply(
        self,
        asker: Principal,
        scope: Scope,
        message: str,
        state: dict[str, Any],
        before: Sequence[str] = (),
        notify: Notify = ignored,
        spent: Spent | None = None,
    ) -> Reply:
        """Answer `message`; `state` is that of the last reply, `before` what the user has said so far.

        Documents of `asker` are looked for within `scope`. `notify` is told how far it is; what a language model took
        is added to `spent`. Raises DatabaseUnavailable.
        """
        settings = self.place.settings
        known = Known.from_json(state)
        help_ = None
        if self._writer is not None and self.uses_model:
            help_ = ModelHelp(self._writer, settings.model_seconds, spent or Spent())
        notify("status", {"step": "requirements"})
        names = await self.place.catalogues.called(asker, names_in(message))
        found = read(message, names, known.asked)
        if settings.extractor == "model":
            found = Read()
        if help_ is not None:
            by_model = await read_by_model(help_, [*before, message][-_MOST_MESSAGES:], names.providers)
            if by_model is not None:
                found = _filled(found, by_model, known)
        if settings.extractor == "model" and (help_ is None or help_.failure is not None):
            return self._without_model(known, help_)
        required = require(found, known, settings.sizing, most_rounds=settings.max_clarifications)
        if required.questions:
            return _asking(required)
        if not required.can_be_planned:
            return _nothing_known(required)
        return await self._plan(asker, scope, message, before, required, names, help_, notify)

    async def _plan(
        self,
        asker: Principal,
        scope: Scope,
        message: str,
        before: Sequence[str],
        required: Required,
        names: Called,
        help_: ModelHelp | None,
        notify: Notify,
    ) -> Reply:
        notify("status", {"step": "architect"})
        architect = Architect(self.place, asker, scope, notify)
        said = "\n".join([*before, message][-_MOST_MESSAGES:])
        material = await architect.gather(required.workload, names.providers, names.regions, message)
        if not names.providers:
            return Reply(EMPTY, "error", required.workload.as_json(), required.known.as_json())
        material.notes = list(required.notes)
        if help_ is not None:
            await complete(help_, architect, material, said)
        words = worded(material, self.place.settings.sizing)
        if help_ is not None:
            notify("status", {"step": "wording"})
            words = await reworded(help_, material, words, said, partial(self._named, asker, names.providers))
        if help_ is not None and help_.failure is not None:
            material.warnings.append(f"{help_.failure[:1].upper()}{help_.failure[1:]}: the rules speak alone.")
        await self._drop_lost(asker, material)
        plan = plan_of(material, words)
        return Reply(
            as_markdown(plan),
            "deployment_plan",
            required.workload.as_json(),
            replace(required.known, has_plan=True).as_json(),
            plan=plan,
            sources=tuple(dict.fromkeys(passage.source for passage in material.documents)),
        )

    async def _named(self, asker: Principal, providers: Sequence[str], words: Sequence[str]) -> set[str]:
        """Which of `words` are names of the catalogues; all providers are."""
        called = await self.place.catalogues.called(asker, words)
        packages = await self.place.catalogues.packages_named(asker, words)
        return {*providers, *(model.short_name for model in called.models), *(package.name for package in packages)}

    async def _drop_lost(self, asker: Principal, material: Material) -> None:
        """Take out documents that may not be read any more: a model may have written for long since they were found."""
        lost = await self.place.lost(asker, material.documents)
        if lost:
            material.documents = [passage for passage in material.documents if passage.source not in lost]
            material.warnings.append(_LOST)

    def _without_model(self, known: Known, help_: ModelHelp | None) -> Reply:
        failure = "no language model is configured" if help_ is None else help_.failure
        required = require(Read(), known, self.place.settings.sizing, most_rounds=0)
        text = _MODEL_NEEDED.format(failure=failure)
        return Reply(text, "error", required.workload.as_json(), known.as_json())


def _filled(found: Read, by_model: dict[str, Any], known: Known) -> Read:
    """What the rules found, with what they left empty; what was stated before stays the rules'."""
    stated_before = known.stated.as_json()
    new = {name: value for name, value in by_model.items() if name not in found.stated and name not in stated_before}
    if found.contradicts:
        new.pop("gpu_needed", None)
    return replace(found, stated=new | found.stated)


def _asking(required: Required) -> Reply:
    return Reply(
        as_text(required.questions),
        "clarification",
        required.workload.as_json(),
        required.known.as_json(),
        questions=required.questions,
    )


def _nothing_known(required: Required) -> Reply:
    missing = ", ".join(_NAMES[name] for name in required.workload.missing if name in CRITICAL)
    text = _NOTHING_KNOWN.format(missing=missing)
    return Reply(text, "error", required.workload.as_json(), required.known.as_json())
