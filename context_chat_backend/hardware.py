# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this machine has, and which of the two configurations applies therefore."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from context_chat_backend.errors import StartError

_DEVICES = {"cpu": "cpu", "cuda": "cuda", "nvidia": "cuda", "rocm": "rocm", "amd": "rocm"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What computes here, and how we know."""

    device: str
    """'cpu', 'cuda' or 'rocm'."""
    reason: str


def detect(environment: Mapping[str, str], root: Path = Path("/")) -> Hardware:
    """COMPUTE_DEVICE when it is set, else what the kernel below `root` shows: NVIDIA, AMD, else CPU."""
    wish = environment.get("COMPUTE_DEVICE", "").strip().lower()
    if wish in _DEVICES:
        return Hardware(_DEVICES[wish], f"COMPUTE_DEVICE is {wish.upper()}")
    ignored = "COMPUTE_DEVICE is none of CPU, CUDA and ROCM; " if wish else ""
    if (root / "dev/nvidiactl").exists() or (root / "proc/driver/nvidia/version").exists():
        return Hardware("cuda", f"{ignored}an NVIDIA driver is loaded")
    if (root / "dev/kfd").exists():
        return Hardware("rocm", f"{ignored}an AMD compute driver is loaded")
    return Hardware("cpu", f"{ignored}no GPU driver is loaded")


def usable_cores(root: Path = Path("/")) -> int:
    """How many cores this process may use: its affinity, and the quota of its control group."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def cpu_features(root: Path = Path("/")) -> frozenset[str]:
    """What this processor can do, in the kernel's words: 'avx2', 'avx512_bf16', 'amx_bf16', …; empty when not told."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    told = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(told.partition(":")[2].split())


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor that can compute."""

    name: str
    memory_bytes: int | None
    """None where the driver does not say it."""


def gpus(root: Path = Path("/")) -> list[Gpu]:
    """Those whose drivers are loaded: what `nvidia-smi` lists, else what NVIDIA's driver does, and AMD's. Blocks."""
    amd = [
        Gpu("AMD GPU", int(told.read_text(encoding="ascii")))
        for told in sorted(root.glob("sys/class/drm/card*/device/mem_info_vram_total"))
    ]
    return (_nvidia_smi() if root == Path("/") else []) or _nvidia_driver(root) or amd


def _nvidia_smi() -> list[Gpu]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
        rows = [line.rpartition(",") for line in said.splitlines() if line.strip()]
        return [Gpu(name.strip(), int(mebibytes) * 1024**2) for name, _, mebibytes in rows]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def _nvidia_driver(root: Path) -> list[Gpu]:
    told = [file.read_text(encoding="utf-8") for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))]
    names = [line.partition(":")[2].strip() for text in told for line in text.splitlines() if line.startswith("Model")]
    return [Gpu(name, None) for name in names]


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory this process may use: the machine's, or less where its control group has a limit."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:")) * 1024
    except (OSError, StopIteration):
        return 2 * 1024**3
    try:
        return min(total, int((root / "sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return total


def choose_configuration(storage: Path, templates: Path, environment: Mapping[str, str]) -> Hardware | None:
    """Copy the configuration for this machine to `storage` when there is none; returns what decided, else None.

    `templates` is the folder with `config.cpu.yaml` and `config.gpu.yaml`. Raises StartError.
    """
    target = storage / "config.yaml"
    if target.exists():
        return None
    found = detect(environment)
    source = templates / ("config.cpu.yaml" if found.device == "cpu" else "config.gpu.yaml")
    try:
        storage.mkdir(parents=True, exist_ok=True)
        temporary = storage / f"config.{os.getpid()}.new"  # of its own: another first start may be copying too
        shutil.copyfile(source, temporary)
        temporary.rename(target)
    except OSError as error:
        raise StartError.not_writable(storage, error) from error
    return found
