# SPDX-License-Identifier: AGPL-3.0-or-later
"""The files by which ChatQnA is deployed (check 24 of its specification)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from context_chat_backend import config

HERE = Path(__file__).resolve().parents[2] / "deploy" / "chatqna"
NAMES = ("MODELS_DIR", "MODEL_FILE", "HOST_PORT")


def sourced(**environment: str) -> tuple[list[str], str]:
    """What the variables are after sourcing twice from another directory, and what is complained about."""
    shown = "; ".join(f'echo "${name}"' for name in NAMES)
    script = f'cd / && set -u && . "{HERE}/set_env.sh" && . "{HERE}/set_env.sh" && {shown}'
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[: len(NAMES)], done.stderr


def compose(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text(encoding="utf-8"))


def test_variables_are_set_from_anywhere_and_those_that_are_set_stay(tmp_path: Path) -> None:
    values, complaint = sourced()
    assert values == [str(HERE / "models"), "model.gguf", "8888"]
    assert "There is no" in complaint

    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    values, complaint = sourced(MODELS_DIR=str(tmp_path), MODEL_FILE="mine.gguf", HOST_PORT="9000")
    assert values == [str(tmp_path), "mine.gguf", "9000"]
    assert complaint == ""


def test_the_port_of_the_model_is_not_published_and_its_files_are_not_written() -> None:
    services = compose("compose.yaml")["services"]
    model = services["llama-server"]

    assert "ports" not in model
    assert "ports" not in compose("compose.gpu.yaml")["services"]["llama-server"]
    assert all(volume.endswith(":ro") for volume in model["volumes"])
    assert services["backend"]["depends_on"]["llama-server"]["condition"] == "service_healthy"
    assert services["backend"]["ports"] == ["${HOST_PORT:-8888}:8888"]


def test_the_backend_starts_with_the_configuration_that_is_there(tmp_path: Path) -> None:
    shutil.copy(HERE / "config.yaml", tmp_path / "config.yaml")
    read = config.load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=2)

    assert [(one.port, one.host, one.surfaces) for one in read.listeners] == [(8888, "0.0.0.0", ("chatqna", "openai"))]
    assert read.llm.options["base_url"] == "http://llama-server:8080/v1"
    assert read.programs.environment == "production"
    assert read.warnings == ()


@pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="docker-compose is not installed, which checks the files"
)
@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_compose_takes_the_files(files: list[str]) -> None:
    named = [word for file in files for word in ("-f", str(HERE / file))]
    environment = {"PATH": os.environ["PATH"], "MODEL_FILE": "model.gguf"}
    done = subprocess.run(["docker-compose", *named, "config"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
