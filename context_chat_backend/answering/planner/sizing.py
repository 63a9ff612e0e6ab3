# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much GPU memory and how many processors a workload takes, by the table that is configured."""

from __future__ import annotations

import math

from context_chat_backend.answering.planner.lexicon import GPUS
from context_chat_backend.answering.planner.workload import Stated
from context_chat_backend.settings.planner import Sizing

SERVING = ("inference", "batch")
LEARNING = ("training", "fine-tuning")
_USUAL_LLM = 7.0
_DIGITS = 6
_CPU_MACHINES = {"training": (8, 32), "fine-tuning": (8, 32), "data-processing": (8, 32), "batch": (8, 32)}
_USUAL_CPU_MACHINE = (4, 16)


def needed_vram(
    stated: Stated, task: str, domain: str, precision: str | None, sizing: Sizing
) -> tuple[float | None, str]:
    """GB of GPU memory, rounded up, with the sentence that says why; None where no rule fits."""
    size = stated.parameters_b
    learns = task in LEARNING
    if domain in ("llm", "multimodal") or (size is not None and size >= 1 and domain not in ("image-generation",)):
        usual = "" if size is not None else f"; the size of the model was not stated, {_USUAL_LLM:g}B is assumed"
        size = _USUAL_LLM if size is None else size
        factor, name = _factor(stated, task, precision, sizing)
        vram = math.ceil(round(size * factor, _DIGITS))
        return vram, f"{vram} GB of GPU memory: {size:g}B parameters times {factor:g} ({name}){usual}"
    named = (stated.model_name or "").lower()
    fixed = {
        "image-generation": sizing.sdxl if "xl" in named else sizing.diffusion,
        "computer-vision": sizing.vision_training if learns else None,
        "speech": sizing.speech,
        "embedding": sizing.embedding,
    }.get(domain)
    if fixed is None:
        return None, ""
    vram = math.ceil(fixed)
    return vram, f"{vram} GB of GPU memory, as is usual for {domain.replace('-', ' ')} ({task})"


def _factor(stated: Stated, task: str, precision: str | None, sizing: Sizing) -> tuple[float, str]:
    if task == "fine-tuning" and stated.method in ("lora", "qlora"):
        return (sizing.lora, "LoRA") if stated.method == "lora" else (sizing.qlora, "QLoRA")
    if task in LEARNING:
        return sizing.training, "full training, mixed precision"
    factors = {"int4": sizing.inference_int4, "int8": sizing.inference_int8, "fp32": 2 * sizing.inference_fp16}
    return factors.get(precision or "", sizing.inference_fp16), f"inference in {precision}"


def named_vram(stated: Stated) -> float | None:
    """GB of the GPUs that were named, all together."""
    each = stated.vram_per_gpu_gb or GPUS.get(stated.gpu_model or "")
    return None if each is None else each * (stated.min_gpu_count or 1)


def cpu_machine(task: str) -> tuple[int, int]:
    """Processors and GB of memory of a machine without GPU that is enough for most."""
    return _CPU_MACHINES.get(task, _USUAL_CPU_MACHINE)
