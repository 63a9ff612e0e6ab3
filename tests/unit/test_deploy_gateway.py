# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of deploy/gateway/ are valid, open no port to the world, and hold no secret."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from context_chat_backend import __version__
from context_chat_backend.config import load
from context_chat_backend.settings.environment import VARIABLES
from tests.unit.test_deploy import compose

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "gateway"
INSTALL = ROOT / "scripts" / "install_dependencies.sh"


def written(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["services"])


def configured(*names: str, **known: str) -> subprocess.CompletedProcess[str]:
    files = [word for name in names for word in ("--file", f"{name}.yaml")]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **known}
    command = [*(compose() or []), *files, "config"]
    return subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(compose() is None, reason="neither 'docker compose' nor docker-compose is installed")
@pytest.mark.parametrize("names", [("compose",), ("compose", "gpu"), ("compose", "publish")], ids="+".join)
def test_compose_understands_the_files(names: tuple[str, ...]) -> None:
    told = configured(*names, REFACT_API_KEY="k")

    assert told.returncode == 0, told.stderr
    merged = yaml.safe_load(told.stdout)["services"]
    assert ("ports" in merged["refact_server_container"]) == ("publish" in names)
    assert merged["refact_server_container"]["environment"]["REFACT_ADMIN_TOKEN"] == "k"


@pytest.mark.skipif(compose() is None, reason="neither 'docker compose' nor docker-compose is installed")
def test_without_the_key_it_is_named() -> None:
    told = configured("compose")

    assert told.returncode != 0
    assert "REFACT_API_KEY" in told.stderr


def test_both_services_are_what_the_specification_says() -> None:
    services = written("compose")
    refact, backend = services["refact_server_container"], services["backend_service_container"]

    assert "smallcloud/refact_self_hosting" in refact["image"]
    assert refact["volumes"] == ["refact_dot_cache:/perm_storage"]
    assert refact["expose"] == ["8008"]
    assert "ports" not in refact
    assert backend["ports"] == ["${APP_BIND:-127.0.0.1}:${GATEWAY_PORT:-5000}:5000"]
    assert backend["depends_on"] == {"refact_server_container": {"condition": "service_healthy"}}
    assert "/health" in backend["healthcheck"]["test"][-1]
    assert backend["image"].endswith(f":{__version__}}}")
    assert set(backend["environment"]) <= set(VARIABLES)
    assert written("publish")["refact_server_container"]["ports"] == ["127.0.0.1:8008:8008"]


def test_the_program_is_a_gateway_before_that_server_by_its_environment_alone(tmp_path: Path) -> None:
    known = written("compose")["backend_service_container"]["environment"]
    known |= {"REFACT_API_KEY": "the key", "ENVIRONMENT": "production", "APP_PERSISTENT_STORAGE": str(tmp_path)}

    config = load(known, cores=1)

    (model,) = config.gateway.models
    assert model.name == "Refact/1.6B"
    assert model.choice.options["base_url"] == "http://refact_server_container:8008/v1"
    assert model.choice.options["api_key"] == "the key"
    assert [(one.port, one.surfaces, one.host) for one in config.listeners] == [(5000, ("gateway",), "0.0.0.0")]
    assert config.programs.environment == "production"
    assert config.warnings == ()


def test_no_secret_is_shipped() -> None:
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    assert re.search(r"^REFACT_API_KEY=$", example, re.MULTILINE)
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for service in written("compose").values():
        for name, value in service["environment"].items():
            if name.endswith(("KEY", "TOKEN")):
                assert re.match(r"\$\{REFACT_API_KEY:\?", value)


def test_the_script_is_sound_and_goes_no_further_on_other_systems(tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(INSTALL)]).returncode == 0
    assert subprocess.run(["sh", "-n", str(INSTALL)]).returncode == 0
    text = INSTALL.read_text(encoding="utf-8")
    assert "log out and in again" in text
    elsewhere = tmp_path / "install.sh"
    elsewhere.write_text(text.replace("/etc/os-release", str(tmp_path / "os-release")), encoding="utf-8")
    (tmp_path / "os-release").write_text('ID=other\nVERSION_ID="1"\nPRETTY_NAME="Other 1"\n', encoding="utf-8")

    told = subprocess.run(["sh", str(elsewhere)], capture_output=True, text=True)

    assert told.returncode == 1
    assert "this is Other 1" in told.stderr or "needs root" in told.stderr


def test_the_advice_opens_nothing_to_the_world() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert "--target-tags" in text
    assert re.findall(r"--source-ranges=(\S+)", text) == ["203.0.113.0/24"]
    assert "never write `0.0.0.0/0`" in text
