# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of deploy/ (compose, Kubernetes, systemd) are valid, and agree with the image and the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import generate_latest

from context_chat_backend import __version__
from context_chat_backend.config import ROLES, load
from context_chat_backend.metrics import REGISTRY, SOURCES
from context_chat_backend.settings.environment import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy" / "compose"
KUBERNETES = ROOT / "deploy" / "kubernetes"
UNIT = ROOT / "deploy" / "systemd" / "context-chat-backend.service"
SETS = [
    ("compose",), ("compose", "postgres"), ("compose", "gpu"), ("compose", "llama"), ("compose", "llama", "llama-gpu"),
    ("compose", "postgres", "llama", "gpu", "llama-gpu"),
]  # fmt: skip
NEEDED = {"APP_SECRET": "s", "POSTGRES_PASSWORD": "p", "CCB_DB_PASSWORD": "d", "MODEL_FILE": "small.gguf"}
OURS = "ghcr.io/nextcloud/context_chat_backend"


def written(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((COMPOSE / f"{name}.yaml").read_text(encoding="utf-8")))


def services() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in sorted({name for names in SETS for name in names}):
        for service, told in written(name)["services"].items():
            yield name, service, told


def compose() -> list[str] | None:
    """The command of this machine, if it has one."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    return None


@pytest.mark.skipif(compose() is None, reason="neither 'docker compose' nor docker-compose is installed")
@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_compose_understands_the_files(names: tuple[str, ...]) -> None:
    command = compose() or []
    files = [word for name in names for word in ("--file", f"{name}.yaml")]
    known = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **NEEDED}

    told = subprocess.run([*command, *files, "config"], cwd=COMPOSE, env=known, capture_output=True, text=True)

    assert told.returncode == 0, told.stderr
    merged = yaml.safe_load(told.stdout)["services"]
    assert ("llama-server" in merged) == ("llama" in names)
    if "gpu" in names:
        assert merged["context-chat"]["image"].endswith("-cuda")
    if "postgres" in names:
        assert merged["context-chat"]["environment"]["CCB_DB_URL"] == "postgresql://ccb:d@postgres/ccb"


def test_the_keys_of_services_are_those_of_the_specification() -> None:
    """What a compose command would refuse, for machines without one."""
    keys = {
        "image", "build", "command", "environment", "ports", "expose", "volumes", "extra_hosts", "shm_size",
        "stop_grace_period", "restart", "cap_drop", "security_opt", "logging", "healthcheck", "depends_on", "deploy",
    }  # fmt: skip
    for name, service, told in services():
        assert set(told) <= keys, (name, service)


def test_every_service_is_bounded_and_only_the_backend_is_published_on_loopback() -> None:
    for name, service, told in services():
        for port in told.get("ports", []):
            assert service == "context-chat"
            assert port.startswith("${APP_BIND:-127.0.0.1}:")
        if "image" in told and service != "context-chat":
            assert re.search(r":-[\w./-]+:[\w.-]+\}$", told["image"]), (name, service)


def test_images_are_of_this_version_and_variables_are_known() -> None:
    for _, service, told in services():
        if service == "context-chat":
            assert set(told.get("environment", {})) <= {*VARIABLES, "CUDA_VISIBLE_DEVICES"}
            if "image" in told:
                assert re.search(rf"{OURS}:{re.escape(__version__)}(-cuda)?\}}$", told["image"])


def test_secrets_have_no_default() -> None:
    for name, service, told in services():
        for key, value in told.get("environment", {}).items():
            if key.endswith(("SECRET", "PASSWORD")):
                assert re.match(r"\$\{\w+:\?", value), (name, service, key)


def test_the_configuration_beside_the_language_model_is_one_the_program_reads(tmp_path: Path) -> None:
    shutil.copyfile(COMPOSE / "config.llama.yaml", tmp_path / "config.yaml")

    config = load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=2)

    server = written("llama")["services"]["llama-server"]
    port = server["command"][server["command"].index("--port") + 1]
    assert config.llm.options["base_url"] == f"http://llama-server:{port}/v1"
    assert config.warnings == ()
    (published,) = written("llama")["services"]["context-chat"]["ports"]
    assert [str(one.port) for one in config.listeners] == [published.rpartition(":")[2]]
    assert [one.surfaces for one in config.listeners] == [("chatqna", "openai")]
    assert config.programs.environment == "production"  # nobody asks without a key
    assert all(volume.endswith(":ro") for volume in server["volumes"])
    waits = written("llama")["services"]["context-chat"]["depends_on"]
    assert waits == {"llama-server": {"condition": "service_healthy"}}
    assert server["expose"] == [port]
    assert "ports" not in server


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_settings_of_the_language_model_keep_what_is_set_and_name_a_missing_model(
    tmp_path: Path, shell: str
) -> None:
    """Sourced twice; from another folder where the shell can tell where a sourced file lies."""
    folder = tmp_path if shell == "bash" else COMPOSE
    text = f'. "{COMPOSE}/set_env.sh"; . "{COMPOSE}/set_env.sh"; echo "$HOST_PORT $MODELS_DIR $LLAMA_CTX_SIZE"'

    def source(**known: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": os.environ["PATH"], **known}
        return subprocess.run([shell, "-euc", text], cwd=folder, env=known, capture_output=True, text=True)

    bare = source()
    assert bare.returncode == 0
    assert bare.stdout.strip() == f"8888 {COMPOSE}/models 4096"
    assert "MODEL_FILE is not set" in bare.stderr

    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    kept = source(MODELS_DIR=str(tmp_path), MODEL_FILE="small.gguf", HOST_PORT="9000")
    assert kept.stdout.strip() == f"9000 {tmp_path} 4096"
    assert kept.stderr == ""
    assert "there is no" in source(MODELS_DIR=str(tmp_path), MODEL_FILE="other.gguf").stderr


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(KUBERNETES.glob("*.yaml")):
        for told in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            yield file.name, told


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for _, told in manifests():
        if told["kind"] == "Deployment":
            pod = told["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield pod, container


def test_manifests_are_valid_by_the_schema_of_kubernetes() -> None:
    kinds = set()
    for name, told in manifests():
        if told["kind"] != "Kustomization":
            kubernetes_validate.validate(told, "1.32", strict=True)
            kinds.add(told["kind"])
        else:
            assert {KUBERNETES / file for file in told["resources"]} <= set(KUBERNETES.glob("*.yaml")), name
    assert kinds >= {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy", "Secret", "ConfigMap"}


def test_a_manifest_that_is_wrong_is_found() -> None:
    wrong = next(told for _, told in manifests() if told["kind"] == "Deployment") | {"spec": {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.32", strict=True)


def test_each_role_has_a_deployment_and_one_is_reachable() -> None:
    roles = [variable["value"] for _, container in containers() for variable in container["env"]]
    assert sorted(roles) == sorted(set(ROLES) - {"normal"})
    (service,) = [told for _, told in manifests() if told["kind"] == "Service"]
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "requestproc"


def test_pods_are_probed_by_routes_without_a_signature_and_may_nothing() -> None:
    for pod, container in containers():
        assert container["livenessProbe"]["httpGet"]["path"] == "/heartbeat"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert container["image"] == f"{OURS}:{__version__}"
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        places = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert places == {"/app/persistent_storage", "/app/persistent_storage/config.yaml", "/tmp"}
        assert not [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]  # sockets are not shared


def test_what_all_pods_are_told_is_known_to_the_program_and_names_a_database_of_its_own(tmp_path: Path) -> None:
    told: dict[str, str] = {}
    for _, one in manifests():
        told |= one.get("data", {}) | one.get("stringData", {})
    (tmp_path / "config.yaml").write_text(told.pop("config.yaml"))
    assert load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=2).warnings == ()
    assert set(told) <= set(VARIABLES)
    assert told["CCB_DB_URL"].startswith("postgresql://")
    assert told["APP_PERSISTENT_STORAGE"] == "/app/persistent_storage"


def test_what_is_scaled_by_what_waits_is_the_role_that_works_it_off() -> None:
    (scaler,) = [told["spec"] for _, told in manifests() if told["kind"] == "HorizontalPodAutoscaler"]
    names = [told["metadata"]["name"] for _, told in manifests() if told["kind"] == "Deployment"]
    assert scaler["scaleTargetRef"]["name"] in names
    assert scaler["scaleTargetRef"]["name"].endswith("-indexing")
    assert [metric["external"]["metric"]["name"] for metric in scaler["metrics"]] == ["context_chat_waiting_sources"]
    comment = (KUBERNETES / "indexing-autoscaling.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"(context_chat_\w+)\{state=\"(\w+)\"", comment))
    assert asked == {("context_chat_sources", "waiting")}
    SOURCES.labels(state="waiting").set(3)
    assert 'context_chat_sources{state="waiting"} 3.0' in generate_latest(REGISTRY).decode()


def unit_settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", sorted(UNIT.parent.glob("*.service")), ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, unit: Path) -> None:
    placed = tmp_path / unit.name
    placed.write_text(unit.read_text(encoding="utf-8").replace("/opt/context_chat_backend", str(ROOT)))

    said = subprocess.run(["systemd-analyze", "verify", "--man=no", placed], capture_output=True, text=True)

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_unit_starts_what_images_start_and_is_hardened() -> None:
    settings = unit_settings()

    (started,) = settings["ExecStart"]
    assert (ROOT / started.removeprefix("/opt/context_chat_backend/")).is_file()
    assert settings["User"] != ["root"]
    assert settings["CapabilityBoundingSet"] == [""]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectKernelTunables", "RestrictNamespaces"):
        assert settings[name] == ["yes"]
    assert settings["ProtectSystem"] == ["strict"]
    assert "landlock_restrict_self" in " ".join(settings["SystemCallFilter"])  # parsers confine themselves
    assert "MemoryDenyWriteExecute" not in settings  # ONNX Runtime would not start
