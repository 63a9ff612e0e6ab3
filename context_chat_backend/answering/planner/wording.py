# SPDX-License-Identifier: AGPL-3.0-or-later
"""The words of a plan from templates: every number in them is one of the material."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from context_chat_backend.answering.planner.material import Material, Offer, StackEntry
from context_chat_backend.answering.planner.ranking import ScoredModel
from context_chat_backend.answering.planner.sizing import SERVING, needed_vram
from context_chat_backend.answering.planner.workload import Workload
from context_chat_backend.settings.planner import Sizing


@dataclass(frozen=True)
class Step:
    """A step of the deployment."""

    title: str
    detail: str
    command: str | None = None


@dataclass
class Words:
    """All that may be worded; the keys are ids of the material."""

    understanding: str
    tradeoffs: list[str]
    steps: list[Step]
    instances: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    purposes: dict[str, str] = field(default_factory=dict)


def worded(material: Material, sizing: Sizing) -> Words:
    """The words of the templates."""
    return Words(
        understanding=understanding(material.workload),
        tradeoffs=list(_tradeoffs(material, sizing)),
        steps=list(_steps(material)),
        instances={offer.instance.id: _why(offer, material.workload) for offer in material.offers},
        models={one.model.model_id: _why_model(one) for one in material.models},
        purposes={entry.package.name: entry.purpose for entry in material.stack},
    )


def understanding(workload: Workload) -> str:
    """What was understood, in one or two sentences."""
    stated = workload.stated
    kind = (workload.domain or "other").replace("-", " ")
    task = {"inference": "serve", "training": "train", "fine-tuning": "fine-tune", "batch": "run in batches",
            "data-processing": "process data with", "web-service": "run a web service with"}.get(
                workload.task_type or "", "run")  # fmt: skip
    size = _size(workload)
    what = " ".join(filter(None, (stated.model_name or (size and "a model"), size)))
    text = f"You want to {task} {what or f'a workload of the kind {kind}'}" + (f" ({kind})" if what else "")
    text += "." if workload.gpu_needed is None else " on GPUs." if workload.gpu_needed else " without a GPU."
    wishes = []
    if stated.budget_monthly is not None:
        wishes.append(f"at most {stated.budget_monthly:g} {stated.currency or ''} a month".replace("  ", " "))
    if stated.budget_hourly is not None:
        wishes.append(f"at most {stated.budget_hourly:g} {stated.currency or ''} an hour".replace("  ", " "))
    if stated.provider:
        wishes.append("with " + " or ".join(stated.provider))
    if stated.region:
        wishes.append("in " + " or ".join(stated.region))
    return text + (f" Limits: {', '.join(wishes)}." if wishes else "")


def _size(workload: Workload) -> str | None:
    return None if workload.parameters_b is None else f"with {workload.parameters_b:g}B parameters"


def _why(offer: Offer, workload: Workload) -> str:
    one = offer.instance
    if one.gpu_count:
        text = f"{one.gpu_count} x {one.gpu_model or 'GPU'} with {one.vram_gb:g} GB of GPU memory"
        if workload.min_vram_gb is not None:
            text += f" for the {workload.min_vram_gb:g} GB that are needed"
    else:
        text = f"{one.vcpu} vCPU and {one.ram_gb:g} GB of memory, no GPU"
    return text + (f"; it does not keep: {', '.join(offer.relaxed)}" if offer.relaxed else "") + "."


def _why_model(one: ScoredModel) -> str:
    size = "" if one.model.parameters_b is None else f", {one.model.parameters_b:g}B parameters"
    return f"For {one.model.pipeline_tag}{size}; relevance {one.relevance:.2f}, popularity {one.popularity:.2f}."


def _tradeoffs(material: Material, sizing: Sizing) -> Iterator[str]:
    workload = material.workload
    if (
        workload.gpu_needed
        and workload.task_type in SERVING
        and workload.domain in ("llm", "multimodal")
        and workload.precision not in ("int4", None)
    ):
        less, _ = needed_vram(workload.stated, workload.task_type, workload.domain, "int4", sizing)
        if less is not None and workload.min_vram_gb is not None and less < workload.min_vram_gb:
            yield (
                f"In int4 the model takes about {less:g} GB of GPU memory instead of "
                f"{workload.min_vram_gb:g} GB: cheaper, "
                "with somewhat worse answers. Say 'use int4' for that plan."
            )
    if len(material.offers) > 1:
        first, largest = (
            material.offers[0].instance,
            max((offer.instance for offer in material.offers), key=lambda one: (one.vram_gb, one.ram_gb)),
        )
        if largest.id != first.id and (largest.vram_gb, largest.ram_gb) > (first.vram_gb, first.ram_gb):
            what = f"{largest.vram_gb:g} GB of GPU memory" if largest.vram_gb else f"{largest.ram_gb:g} GB of memory"
            yield f"{first.name} is the cheapest; {largest.name} leaves more room, with {what}."
    if workload.task_type == "fine-tuning" and workload.stated.method is None:
        yield "LoRA or QLoRA need much less GPU memory than full fine-tuning. Say 'use LoRA' for that plan."


def _steps(material: Material) -> Iterator[Step]:
    workload = material.workload
    if material.offers:
        one = material.offers[0].instance
        yield Step(
            "Rent the machine",
            f"{material.machines} x {one.name} of {one.provider} in {one.region}.",
        )
    yield Step(
        "Make a Kubernetes cluster",
        "With this machine as its node; a managed cluster of the provider, or one of your own.",
    )
    for entry in material.stack:
        yield Step(f"Install {entry.package.name}", f"{_sentence(entry.purpose)}", _command(entry))
    if material.models:
        yield Step(
            "Choose the model",
            f"{material.models[0].model.model_id} is the first of the list; read its licence "
            f"({material.models[0].model.license}) first.",
        )
    if workload.task_type in SERVING:
        yield Step("Serve and check", "Deploy the model server, ask it something, then load it as it will be loaded.")
    else:
        yield Step("Run and check", "Start with a small part of the data, look at the result, then run all of it.")


def _sentence(purpose: str) -> str:
    return purpose[:1].upper() + purpose[1:] + "."


def _command(entry: StackEntry) -> str:
    package = entry.package
    chart = f"{package.repository}/{package.name}" if package.repository else package.name
    return f"helm install {shlex.quote(package.name)} {shlex.quote(chart)} --version {shlex.quote(package.version)}"
