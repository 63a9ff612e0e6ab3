# SPDX-License-Identifier: AGPL-3.0-or-later
"""What somebody wants to run: what he stated, and with what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

TASKS = ("inference", "training", "fine-tuning", "batch", "data-processing", "web-service", "other")
DOMAINS = (
    "llm", "computer-vision", "image-generation", "speech", "embedding", "tabular", "recommender", "multimodal",
    "other",
)  # fmt: skip
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int4")
CRITICAL = ("task_type", "domain", "gpu_needed")
PIPELINE_TAGS: Mapping[str, str] = {
    "llm": "text-generation",
    "image-generation": "text-to-image",
    "computer-vision": "image-classification",
    "speech": "automatic-speech-recognition",
    "embedding": "sentence-similarity",
    "multimodal": "image-text-to-text",
    "tabular": "tabular-classification",
}
"""What models of a domain are for, in the words of the catalogue."""


@dataclass(frozen=True)
class Stated:
    """What was stated, or (None, empty) was not. It is all that is kept from one message to the next."""

    task_type: str | None = None
    domain: str | None = None
    gpu_needed: bool | None = None
    model_name: str | None = None
    model_id: str | None = None
    """A model of the catalogue."""
    parameters_b: float | None = None
    precision: str | None = None
    method: str | None = None
    """How it is fine-tuned: 'full', 'lora', 'qlora'."""
    pipeline_tag: str | None = None
    licenses: tuple[str, ...] = ()
    context_length: int | None = None
    gpu_model: str | None = None
    vram_per_gpu_gb: float | None = None
    min_vram_gb: float | None = None
    min_gpu_count: int | None = None
    min_vcpu: float | None = None
    min_ram_gb: float | None = None
    budget_monthly: float | None = None
    budget_hourly: float | None = None
    currency: str | None = None
    provider: tuple[str, ...] = ()
    without_provider: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    """Names of regions, or of areas like 'europe'."""
    kubernetes_needs: tuple[str, ...] = ()
    users: int | None = None
    requests_per_second: float | None = None
    replicas: int | None = None
    constraints: tuple[str, ...] = ()
    wants_documents: bool = False
    """Whether he speaks of guidelines in documents."""

    def as_json(self) -> dict[str, Any]:
        """What was stated, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != ()}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Stated:
        """What was kept; names of another version are passed over."""
        known = {one.name for one in fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items() if k in known}
        return cls(**values)


@dataclass(frozen=True)
class Workload:
    """What is planned for: what was stated, what follows from it, and how sure that is."""

    stated: Stated
    task_type: str | None
    domain: str | None
    gpu_needed: bool | None
    min_vram_gb: float | None
    min_gpu_count: int | None
    min_vcpu: float | None
    min_ram_gb: float | None
    precision: str | None
    parameters_b: float | None
    assumptions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    confidence: str = "low"
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def searches_models(self) -> bool:
        """Whether a model of the catalogue is looked for."""
        return self.domain in PIPELINE_TAGS and self.task_type not in ("web-service", "data-processing")

    @property
    def pipeline_tag(self) -> str | None:
        """What a model has to be for."""
        return self.stated.pipeline_tag or PIPELINE_TAGS.get(self.domain or "")

    @property
    def model_query(self) -> str:
        """By what models are looked for."""
        size = "" if self.parameters_b is None else f"{self.parameters_b:g}B"
        words = (self.stated.model_name or "", size, (self.pipeline_tag or "").replace("-", " "))
        return " ".join(word for word in words if word)

    def as_json(self) -> dict[str, Any]:
        """The WorkloadSpec of the interface."""
        stated = self.stated
        needs = {
            "query": self.model_query,
            "model_name": stated.model_id or stated.model_name,
            "parameters_b": self.parameters_b,
            "precision": self.precision,
            "pipeline_tag": self.pipeline_tag,
            "licenses": list(stated.licenses),
            "context_length": stated.context_length,
        }
        return {
            "task_type": self.task_type,
            "domain": self.domain,
            "gpu_needed": self.gpu_needed,
            "model_needs": needs if self.searches_models else None,
            "method": stated.method,
            "gpu_model": stated.gpu_model,
            "min_vram_gb": self.min_vram_gb,
            "min_gpu_count": self.min_gpu_count,
            "min_vcpu": self.min_vcpu,
            "min_ram_gb": self.min_ram_gb,
            "budget_monthly": stated.budget_monthly,
            "budget_hourly": stated.budget_hourly,
            "currency": stated.currency,
            "provider": _one_or_all(stated.provider),
            "region": _one_or_all(stated.region),
            "kubernetes_needs": list(stated.kubernetes_needs),
            "scale": {
                "users": stated.users,
                "requests_per_second": stated.requests_per_second,
                "replicas": stated.replicas,
            },
            "constraints": list(stated.constraints),
            "assumptions": list(self.assumptions),
            "confidence": self.confidence,
            "missing": list(self.missing),
        }


def _one_or_all(names: tuple[str, ...]) -> str | list[str] | None:
    return None if not names else names[0] if len(names) == 1 else list(names)
