# SPDX-License-Identifier: AGPL-3.0-or-later
"""appinfo/info.xml says what AppAPI needs, by its rules (contract appapi 8 and 9)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from context_chat_backend.config import ROLES

ROOT = Path(__file__).resolve().parents[2]
APP = ElementTree.parse(ROOT / "appinfo" / "info.xml").getroot()
EXTERNAL = APP.find("external-app")
OF_THE_REFERENCE = {
    "EXTERNAL_DB", "CC_DOWNLOAD_MODELS_FROM_HF", "CC_EM_BASE_URL", "CC_EM_MODEL_NAME", "CC_EM_APIKEY", "CC_EM_USERNAME",
    "CC_EM_PASSWORD",
}  # fmt: skip


def texts(path: str) -> list[str]:
    assert EXTERNAL is not None
    return [element.text or "" for element in EXTERNAL.findall(path)]


def test_the_image_is_that_of_this_version() -> None:
    assert texts("docker-install/image-tag") == [APP.findtext("version")]
    assert texts("docker-install/registry") == ["ghcr.io"]


def test_routes_are_anchored_and_for_administrators() -> None:
    for url in texts("routes/route/url"):
        re.compile(url)
        assert url.startswith("^/")
        assert url.endswith("$")
    assert set(texts("routes/route/access_level")) == {"ADMIN"}
    assert all(json.loads(names) == [] for names in texts("routes/route/headers_to_exclude"))
    assert all(json.loads(codes) == [] for codes in texts("routes/route/bruteforce_protection"))


def test_variables_are_complete_and_have_no_empty_default() -> None:
    """An empty <default/> arrives as the word Array before AppAPI 35 (contract appapi, trap 17)."""
    assert set(texts("environment-variables/variable/name")) >= OF_THE_REFERENCE
    assert all(texts("environment-variables/variable/description"))
    assert all(texts("environment-variables/variable/display-name"))
    assert all(texts("environment-variables/variable/default"))


def test_roles_are_those_of_the_program_and_one_is_reachable() -> None:
    roles = texts("k8s-service-roles/role/env")
    assert {role.removeprefix("APP_ROLE=") for role in roles} == set(ROLES) - {"normal"}
    assert texts("k8s-service-roles/role/expose").count("true") == 1
    assert texts("k8s-service-roles/role/name")[texts("k8s-service-roles/role/expose").index("true")] == "requestproc"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The scripts in a tree like the image's, with an FRP client and a Python that say how they were called."""
    for name in ("dockerfile_scripts", ".venv/bin", "path"):
        (tmp_path / name).mkdir(parents=True)
    programs = [tmp_path / "dockerfile_scripts" / name for name in ("entrypoint.sh", "frpc.sh")]
    for script in programs:
        script.write_bytes((ROOT / "dockerfile_scripts" / script.name).read_bytes())
    for file, text in (("path/frpc", "exit 0"), (".venv/bin/python", 'echo "python $*"')):
        (tmp_path / file).write_text(f"#!/bin/sh\n{text}\n")
    for program in (*programs, tmp_path / "path" / "frpc", tmp_path / ".venv" / "bin" / "python"):
        program.chmod(0o755)
    return tmp_path


def start(image: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{image / 'path'}:{os.environ['PATH']}"
    known = {
        "PATH": path, "FRP_CONFIGURATION": str(image / "frpc.toml"), "FRP_CERTIFICATES": str(image / "certs"),
        "APP_PERSISTENT_STORAGE": str(image / "storage"),
    }  # fmt: skip
    script = image / "dockerfile_scripts" / "entrypoint.sh"
    return subprocess.run([script], env=known | environment, capture_output=True, text=True, timeout=30)


HARP = {"HP_SHARED_KEY": "k3y", "HP_FRP_ADDRESS": "harp", "HP_FRP_PORT": "8782", "APP_ID": "ccb", "APP_PORT": "23000"}


def test_without_harp_only_the_program_starts(image: Path) -> None:
    assert start(image).stdout == "python main.py\n"
    assert not (image / "frpc.toml").exists()


@pytest.mark.parametrize("certificates", [False, True])
def test_behind_harp_a_tunnel_leads_to_the_socket(image: Path, certificates: bool) -> None:
    if certificates:
        (image / "certs").mkdir()

    assert start(image, **HARP).stdout == "python main.py\n"

    told = tomllib.loads((image / "frpc.toml").read_text())
    tls = told.pop("transport")["tls"]
    assert told == {
        "serverAddr": "harp", "serverPort": 8782, "loginFailExit": False, "metadatas": {"token": "k3y"},
        "proxies": [
            {"name": "ccb", "type": "tcp", "remotePort": 23000,
             "plugin": {"type": "unix_domain_socket", "unixPath": "/tmp/exapp.sock"}}
        ],
    }  # fmt: skip
    assert tls["enable"] is certificates
    assert (tls.get("serverName") == "harp.nc") is certificates
    assert (image / "frpc.toml").stat().st_mode & 0o077 == 0


def test_the_tunnels_client_is_installed_when_its_archive_has_the_checksum_it_must_have(tmp_path: Path) -> None:
    (tmp_path / "frp_0.61.1_linux_amd64").mkdir()
    (tmp_path / "frp_0.61.1_linux_amd64" / "frpc").write_text("the client")
    archive, checksums, folder = tmp_path / "frp.tar.gz", tmp_path / "checksums", tmp_path / "bin"
    folder.mkdir()
    with tarfile.open(archive, "w:gz") as writing:
        writing.add(tmp_path / "frp_0.61.1_linux_amd64", "frp_0.61.1_linux_amd64")
    right, wrong = hashlib.sha256(archive.read_bytes()).hexdigest(), "0" * 64

    def install(listed: str, pinned: str) -> subprocess.CompletedProcess[str]:
        checksums.write_text(f"{listed}  frp_0.61.1_linux_amd64.tar.gz\n")
        command = [str(ROOT / "dockerfile_scripts" / "frpc.sh"), "install", str(archive), str(checksums), str(folder)]
        environment = {"PATH": os.environ["PATH"], "FRP_SHA256": pinned}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)

    for listed, pinned in ((wrong, ""), (right, wrong), (wrong, right)):
        refused = install(listed, pinned)
        assert refused.returncode != 0
        assert "nothing is installed" in refused.stderr
        assert list(folder.iterdir()) == []

    assert install(right, right).returncode == 0
    assert (folder / "frpc").read_text() == "the client"


def test_the_command_of_a_machine_finds_its_program_from_anywhere(image: Path, tmp_path: Path) -> None:
    script = image / "dockerfile_scripts" / "context-chat.sh"
    script.write_bytes((ROOT / "dockerfile_scripts" / "context-chat.sh").read_bytes())
    script.chmod(0o755)
    linked = tmp_path / "path" / "context-chat"
    linked.symlink_to(script)

    told = subprocess.run([linked, "ask", "two words"], cwd="/", capture_output=True, text=True, timeout=30)

    assert told.stdout == "python main.py ask two words\n"


def test_half_a_harp_is_refused_by_name(image: Path) -> None:
    refused = start(image, **(HARP | {"HP_FRP_PORT": ""}))

    assert refused.returncode != 0
    assert "HP_FRP_PORT" in refused.stderr


@pytest.mark.parametrize("behind_harp", [False, True])
def test_a_container_is_healthy_while_its_program_answers(tmp_path: Path, behind_harp: bool) -> None:
    check = [sys.executable, str(ROOT / "dockerfile_scripts" / "alive.py")]
    place = tmp_path / "exapp.sock"
    listener = socket.socket(socket.AF_UNIX) if behind_harp else socket.create_server(("127.0.0.1", 0))
    if behind_harp:
        listener.bind(str(place))
        listener.listen()
        known = {"HP_SHARED_KEY": "k3y", "HP_EXAPP_SOCK": str(place), "APP_PORT": "1"}
    else:
        known = {"APP_PORT": str(listener.getsockname()[1])}

    def answer() -> None:
        connection, _ = listener.accept()
        assert connection.recv(1000).startswith(b"GET /heartbeat ")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        connection.close()

    program = threading.Thread(target=answer)
    program.start()
    assert subprocess.run(check, env=known, timeout=30).returncode == 0
    program.join()
    listener.close()
    assert subprocess.run(check, env=known, timeout=30).returncode == 1
