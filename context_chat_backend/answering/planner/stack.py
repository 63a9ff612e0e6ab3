# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which packages a workload needs in a cluster, by what it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from context_chat_backend.answering.planner.workload import Workload


@dataclass(frozen=True)
class Need:
    """Something a cluster has to offer."""

    queries: tuple[str, ...]
    """What is looked for, until something is found."""
    purpose: str
    required: bool = True


_GPU = Need(("gpu-operator", "gpu driver"), "drivers and the device plugin for GPUs")
_INGRESS = Need(("ingress-nginx", "ingress"), "carries requests from outside to the service")
_CERTIFICATES = Need(("cert-manager", "certificates"), "issues and renews certificates")
_MONITORING = Need(("kube-prometheus-stack", "monitoring"), "metrics, alerts and dashboards", required=False)
_SCHEDULER = Need(("volcano", "job scheduler"), "queues and starts jobs")
_STORAGE = Need(("minio", "object storage"), "keeps data, checkpoints and results")
_TRACKING = Need(("mlflow", "experiment tracking"), "tracks experiments and keeps models")
_WORKFLOWS = Need(("argo-workflows", "workflow"), "runs the steps of a pipeline")
_SERVERS = {
    "llm": Need(("vllm", "llm inference"), "serves the language model"),
    "multimodal": Need(("vllm", "llm inference"), "serves the model"),
    "image-generation": Need(("comfyui", "image diffusion"), "serves the image model"),
    "speech": Need(("whisper-server", "speech"), "serves the speech model"),
    "embedding": Need(("text-embeddings-inference", "embedding inference"), "serves the embedding model"),
}
_ANY_SERVER = Need(("triton-inference-server", "inference serving"), "serves the model")


def needs_of(workload: Workload) -> list[Need]:
    """What the cluster needs: what was asked for first, then what is usual for the task; nothing twice."""
    asked = [Need((name, name.replace("-", " ")), "asked for") for name in workload.stated.kubernetes_needs]
    known = {need.queries[0]: need for need in asked}
    for need in _usual(workload):
        if need.queries[0] in known:
            known[need.queries[0]] = need  # says what for
        else:
            known.setdefault(need.queries[0], need)
    return list(known.values())


def _usual(workload: Workload) -> Iterator[Need]:
    task, server = workload.task_type, _SERVERS.get(workload.domain or "", _ANY_SERVER)
    if workload.gpu_needed:
        yield _GPU
    if task in ("inference", "other"):
        yield from (_INGRESS, _CERTIFICATES, _MONITORING, server)
    elif task == "web-service":
        yield from (_INGRESS, _CERTIFICATES, _MONITORING)
    elif task == "batch":
        yield from (_SCHEDULER, _STORAGE, _MONITORING, server)
    elif task == "data-processing":
        yield from (_WORKFLOWS, _STORAGE, _MONITORING)
    else:
        yield from (_SCHEDULER, _STORAGE, _MONITORING)
        if task == "fine-tuning":
            yield _TRACKING
