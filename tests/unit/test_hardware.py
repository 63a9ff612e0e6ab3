# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from context_chat_backend.errors import StartError
from context_chat_backend.hardware import Gpu, choose_configuration, cpu_features, detect, gpus, usable_cores

ROOT = Path(__file__).resolve().parents[2]


def machine(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("files", "environment", "device"),
    [
        ((), {}, "cpu"),
        (("dev/nvidiactl",), {}, "cuda"),
        (("proc/driver/nvidia/version",), {}, "cuda"),
        (("dev/kfd",), {}, "rocm"),
        (("dev/kfd", "dev/nvidiactl"), {}, "cuda"),
        (("dev/nvidiactl",), {"COMPUTE_DEVICE": "CPU"}, "cpu"),
        ((), {"COMPUTE_DEVICE": "cuda"}, "cuda"),
        ((), {"COMPUTE_DEVICE": "ROCM"}, "rocm"),
        (("dev/kfd",), {"COMPUTE_DEVICE": "abacus"}, "rocm"),
    ],
)
def test_the_environment_decides_first_then_the_machine(
    tmp_path: Path, files: tuple[str, ...], environment: dict[str, str], device: str
) -> None:
    found = detect(environment, machine(tmp_path, *files))

    assert found.device == device
    assert found.reason


def test_a_device_nobody_knows_is_named_in_the_reason(tmp_path: Path) -> None:
    assert "COMPUTE_DEVICE" in detect({"COMPUTE_DEVICE": "abacus"}, tmp_path).reason


def test_a_quota_of_the_control_group_limits_the_cores(tmp_path: Path) -> None:
    quota = machine(tmp_path, "sys/fs/cgroup/cpu.max") / "sys/fs/cgroup/cpu.max"
    all_cores = len(os.sched_getaffinity(0))

    quota.write_text("100000 100000")
    assert usable_cores(tmp_path) == 1
    quota.write_text("max 100000")
    assert usable_cores(tmp_path) == all_cores


def test_the_first_start_copies_one_file_and_later_ones_leave_it_alone(tmp_path: Path) -> None:
    storage = tmp_path / "new" / "storage"

    found = choose_configuration(storage, ROOT, {"COMPUTE_DEVICE": "CUDA"})
    assert found is not None
    assert (storage / "config.yaml").read_bytes() == (ROOT / "config.gpu.yaml").read_bytes()
    (storage / "config.yaml").write_text("# mine")
    assert choose_configuration(storage, ROOT, {"COMPUTE_DEVICE": "CPU"}) is None
    assert (storage / "config.yaml").read_text() == "# mine"


def test_a_storage_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartError, match="APP_PERSISTENT_STORAGE"):
        choose_configuration(tmp_path / "file" / "storage", ROOT, {})


def test_a_processor_says_what_it_can_do(tmp_path: Path) -> None:
    (machine(tmp_path, "proc/cpuinfo") / "proc/cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n")

    assert cpu_features(tmp_path) == {"fpu", "avx2", "amx_bf16"}
    assert cpu_features(tmp_path / "nowhere") == frozenset()


def test_the_memory_of_an_amd_gpu_is_read_from_its_driver(tmp_path: Path) -> None:
    told = "sys/class/drm/card0/device/mem_info_vram_total"
    (machine(tmp_path, told) / told).write_text("17163091968\n")

    assert gpus(tmp_path) == [Gpu("AMD GPU", 17163091968)]
    assert gpus(tmp_path / "nowhere") == []
