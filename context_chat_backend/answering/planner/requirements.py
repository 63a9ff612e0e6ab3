# SPDX-License-Identifier: AGPL-3.0-or-later
"""The requirements step: from a message and what is known to a workload, or to questions.

Later statements replace earlier ones. After some rounds of questions what is missing is assumed, so that nobody is
asked for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from context_chat_backend.answering.planner.asking import asked_of
from context_chat_backend.answering.planner.reading import Read
from context_chat_backend.answering.planner.settling import settle
from context_chat_backend.answering.planner.sizing import SERVING
from context_chat_backend.answering.planner.workload import CRITICAL, Stated, Workload
from context_chat_backend.settings.planner import Sizing

_COLLECTED = ("kubernetes_needs", "constraints", "without_provider")
_LOWER_PRECISION = {"fp32": "fp16", "fp16": "int8", "bf16": "int8", None: "int8", "int8": "int4"}


@dataclass(frozen=True)
class Known:
    """What is kept of a conversation beside its messages."""

    stated: Stated = field(default_factory=Stated)
    rounds: int = 0
    """How often it was asked."""
    asked: tuple[str, ...] = ()
    """What was asked last."""
    has_plan: bool = False

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "stated": self.stated.as_json(),
            "rounds": self.rounds,
            "asked": list(self.asked),
            "has_plan": self.has_plan,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Known:
        """What was kept; nothing at the beginning."""
        return cls(
            Stated.from_json(kept.get("stated", {})),
            kept.get("rounds", 0),
            tuple(kept.get("asked", ())),
            kept.get("has_plan", False),
        )


@dataclass(frozen=True)
class Required:
    """What the step comes to: a workload that can be planned, or questions, or neither where nothing is known."""

    workload: Workload
    known: Known
    questions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def can_be_planned(self) -> bool:
        """Whether all that is critical is known."""
        return not self.questions and not any(name in self.workload.missing for name in CRITICAL)


def require(read: Read, known: Known, sizing: Sizing, *, most_rounds: int) -> Required:
    """The next step of a conversation after a message was `read`."""
    stated = merged(known.stated, read)
    notes: tuple[str, ...] = ()
    if read.wants_cheaper and known.has_plan:
        stated, notes = _cheaper(stated, read, settle(stated, sizing))
    workload = settle(stated, sizing)
    if workload.confidence == "low" and known.rounds < most_rounds:
        asked = asked_of(workload, contradicts=read.contradicts)
        return Required(
            workload,
            replace(known, stated=stated, rounds=known.rounds + 1, asked=tuple(name for name, _ in asked)),
            tuple(question for _, question in asked),
            notes,
        )
    if workload.confidence == "low":
        workload = settle(stated, sizing, assume=True)
    return Required(workload, replace(known, stated=stated, asked=()), (), notes)


def merged(before: Stated, read: Read) -> Stated:
    """What is stated by now."""
    new = dict(read.stated)
    if before.task_type is not None and read.task_is_weak:
        new.pop("task_type", None)
    if before.domain is not None and not {"model_name", "model_id", "task_type"} & set(new):
        new.pop("domain", None)
        new.pop("pipeline_tag", None)
    for name in _COLLECTED:
        if name in new:
            new[name] = tuple(dict.fromkeys((*getattr(before, name), *new[name])))
    dropped = read.dropped | _outdated(before, new)
    blank = Stated()
    stated = replace(before, **{name: getattr(blank, name) for name in dropped})
    stated = replace(stated, **new)
    if "provider" in read.stated:
        kept = tuple(name for name in stated.without_provider if name not in stated.provider)
        return replace(stated, without_provider=kept)
    return replace(stated, provider=tuple(one for one in stated.provider if one not in stated.without_provider))


def _outdated(before: Stated, new: Mapping[str, Any]) -> set[str]:
    """What was stated of something that is another now."""
    dropped: set[str] = set()
    if new.get("model_name", before.model_name) != before.model_name:
        dropped |= {"parameters_b", "model_id"}
    if new.get("domain", before.domain) != before.domain:
        dropped |= {"pipeline_tag", "model_name", "model_id"}
    if new.get("task_type", before.task_type) != before.task_type:
        dropped.add("method")
    if "gpu_model" in new:
        dropped |= {"vram_per_gpu_gb", "min_gpu_count", "min_vram_gb"}
    if new.get("gpu_needed") is False:
        dropped |= {"gpu_model", "min_gpu_count", "min_vram_gb", "vram_per_gpu_gb"}
    return dropped


def _cheaper(stated: Stated, read: Read, workload: Workload) -> tuple[Stated, tuple[str, ...]]:
    """What may be given up for a lower price: the first of these that was not said in the same message."""
    if {"precision", "method", "budget_monthly", "budget_hourly", "parameters_b"} & set(read.stated):
        return stated, ()
    if workload.gpu_needed and workload.task_type in SERVING and workload.domain in ("llm", "multimodal"):
        lower = _LOWER_PRECISION.get(stated.precision)
        if lower is not None and stated.min_vram_gb is None and stated.gpu_model is None:
            return replace(stated, precision=lower), (f"To make it cheaper the precision is lowered to {lower}.",)
    if workload.task_type == "fine-tuning" and workload.domain == "llm" and stated.method != "qlora":
        method = "qlora" if stated.method == "lora" else "lora"
        return replace(stated, method=method), (f"To make it cheaper it is fine-tuned by {method.upper()}.",)
    if stated.provider:
        return replace(stated, provider=()), ("To make it cheaper all providers are looked at.",)
    if stated.region:
        return replace(stated, region=()), ("To make it cheaper all regions are looked at.",)
    return stated, ("Machines are listed with the cheapest first: nothing stated can be given up for a lower price.",)
