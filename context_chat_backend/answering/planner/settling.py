# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what was stated to what is planned for: what follows is filled in and said, what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator

from context_chat_backend.answering.planner import sizing as sizes
from context_chat_backend.answering.planner.workload import Stated, Workload
from context_chat_backend.settings.planner import Sizing

_LARGE = 3.0
"""Billions of parameters from which on a language model is not served without a GPU."""
_NEURAL = ("llm", "computer-vision", "image-generation", "speech", "embedding", "multimodal", "recommender")
_WITHOUT_GPU = ("web-service", "data-processing")


def settle(stated: Stated, sizing: Sizing, *, assume: bool = False) -> Workload:
    """What is planned for; with `assume` what is missing is assumed, as far as anything is known."""
    said: list[str] = []
    task, domain = _kind(stated, said)
    gpu = _gpu(stated, task, domain, said)
    if assume and (task or domain or gpu is not None):
        task, domain, gpu = _assumed(stated, task, domain, gpu, said)
    critical = {"task_type": task, "domain": domain, "gpu_needed": gpu}
    missing = [name for name, value in critical.items() if value is None]
    is_precise = any((stated.model_name, stated.parameters_b, stated.min_vram_gb, stated.gpu_model,
                      stated.budget_monthly, stated.budget_hourly))  # fmt: skip
    confidence = "low" if missing else "high" if is_precise else "medium"
    if not is_precise:
        missing.append("model_or_budget")
    precision = stated.precision
    if precision is None and gpu and task in sizes.SERVING and domain in ("llm", "multimodal"):
        precision = "fp16"
        said.append("Precision was not stated: fp16 is planned for.")
    vram = _vram(stated, task, domain, gpu, precision, sizing, said)
    vcpu, ram = stated.min_vcpu, stated.min_ram_gb
    if gpu is False and task is not None and vcpu is None and ram is None:
        vcpu, ram = sizes.cpu_machine(task)
        said.append(f"Without a stated size a machine with {vcpu:g} vCPU and {ram:g} GB of memory is planned for.")
    if stated.budget_monthly is not None and stated.currency is None:
        said.append("The currency of the budget was not stated: it is compared with prices as they are listed.")
    return Workload(
        stated=stated,
        task_type=task,
        domain=domain,
        gpu_needed=gpu,
        min_vram_gb=vram,
        min_gpu_count=stated.min_gpu_count if gpu is not False else None,
        min_vcpu=vcpu,
        min_ram_gb=ram,
        precision=precision,
        parameters_b=stated.parameters_b,
        assumptions=tuple(said),
        missing=tuple(missing),
        confidence=confidence,
        warnings=tuple(_warnings(stated, task, domain, gpu)),
    )


def _assumed(
    stated: Stated, task: str | None, domain: str | None, gpu: bool | None, said: list[str]
) -> tuple[str, str, bool]:
    if task is None:
        task = "inference"
        said.append("Nothing was said about what is to be done: a model is served (inference).")
    if domain is None:
        domain = "other" if gpu is False else "llm"
        said.append(f"Nothing was said about the kind of model: {domain} is assumed.")
    if gpu is None:
        gpu = _gpu(stated, task, domain, said)
    if gpu is None:
        gpu = domain in _NEURAL
        said.append(f"Nothing was said about GPUs: {'one is' if gpu else 'none are'} planned for.")
    return task, domain, gpu


def _warnings(stated: Stated, task: str | None, domain: str | None, gpu: bool | None) -> Iterator[str]:
    if gpu is not False:
        return
    if task in sizes.LEARNING and domain in _NEURAL and domain != "recommender":
        yield "You asked for no GPU. Training a neural network without one is possible and takes very long."
    elif (stated.parameters_b or 0) > _LARGE:
        yield (
            f"You asked for no GPU. A model of {stated.parameters_b:g}B parameters answers slowly without one, and "
            "needs its memory in the machine."
        )


def _kind(stated: Stated, said: list[str]) -> tuple[str | None, str | None]:
    task, domain = stated.task_type, stated.domain
    if domain is None and (stated.parameters_b or 0) >= 1:
        domain = "llm"
        said.append(f"A model of {stated.parameters_b:g}B parameters is taken for a language model.")
    if domain is None and task in _WITHOUT_GPU:
        domain = "other"
        said.append("No model was named: the machines are planned for the service alone.")
    if task is None and domain == "image-generation":
        task = "inference"
        said.append("Image generation is taken for serving a model (inference).")
    return task, domain


def _gpu(stated: Stated, task: str | None, domain: str | None, said: list[str]) -> bool | None:
    """Whether a GPU is needed; what follows is said."""
    if stated.gpu_needed is not None:
        return stated.gpu_needed
    because = None
    if domain == "image-generation":
        because = (True, "Image generation needs a GPU.")
    elif task in sizes.LEARNING and domain in _NEURAL:
        because = (True, "Training or fine-tuning of a neural network needs a GPU.")
    elif task in sizes.SERVING and domain in ("llm", "multimodal") and (stated.parameters_b or 0) > _LARGE:
        because = (True, f"A language model above {_LARGE:g}B parameters is served on a GPU.")
    elif task in sizes.SERVING and domain == "speech":
        because = (True, "Speech is worked on with a GPU.")
    elif domain == "tabular" or task in _WITHOUT_GPU:
        because = (False, "This kind of work needs no GPU.")
    if because is None:
        return None
    said.append(f"{because[1]} (gpu_needed was derived)")
    return because[0]


def _vram(
    stated: Stated,
    task: str | None,
    domain: str | None,
    gpu: bool | None,
    precision: str | None,
    sizing: Sizing,
    said: list[str],
) -> float | None:
    if not gpu or task is None or domain is None:
        return stated.min_vram_gb
    if stated.min_vram_gb is not None:
        return stated.min_vram_gb
    named = sizes.named_vram(stated)
    vram, why = sizes.needed_vram(stated, task, domain, precision, sizing)
    if named is not None and named >= (vram or 0):
        said.append(f"{named:g} GB of GPU memory, as the GPUs that were named have.")
        return named
    if vram is not None:
        said.append(f"{why}.")
    return vram
