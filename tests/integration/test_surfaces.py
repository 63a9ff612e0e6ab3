# SPDX-License-Identifier: AGPL-3.0-or-later
"""The walks of docs/surfaces.md work as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import running_gateway
from tests.ports import free_port

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "surfaces.md").read_text(encoding="utf-8")
SURFACES = ("gateway", "openai", "chatqna")


def walk(surface: str) -> list[str]:
    """The commands of a section."""
    section = re.search(rf"^## {surface}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section is not None
    (block,) = re.findall(r"^```sh\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    return [command for command in block.replace("\\\n", " ").splitlines() if command.strip()]


@pytest.fixture(scope="module")
def known(module_storage: Path, module_database_url: str) -> Iterator[dict[str, str]]:
    """What the commands read: addresses and a key."""
    ports = {surface: free_port() for surface in SURFACES[1:]}
    more = "".join(f"  - {{port: {port}, surfaces: [{surface}]}}\n" for surface, port in ports.items())
    with running_gateway(module_storage, module_database_url, environment="production", more_ports=more) as gateway:
        file = module_storage / "limits.txt"
        file.write_text("The retry limit of the fetcher is nine.", encoding="utf-8")
        gateway.run("index", str(file), "--collection", "code", "--reader", "ann")
        scopes = [word for scope in ("completion", "chat", "embedding") for word in ("--scope", scope)]
        addresses = {surface.upper(): f"http://127.0.0.1:{port}" for surface, port in ports.items()}
        yield {"KEY": gateway.key("--collection", "code", *scopes), "GATEWAY": gateway.url, **addresses}


@pytest.mark.parametrize("surface", SURFACES)
def test_every_command_of_a_walk_succeeds(known: dict[str, str], surface: str) -> None:
    commands = walk(surface)
    assert len(commands) > 1
    for command in commands:
        assert command.startswith("curl -sf")
        done = subprocess.run(
            ["bash", "-c", command],
            env={"PATH": os.environ["PATH"], **known},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout
        if "data: " in done.stdout:
            assert done.stdout.rstrip().endswith("data: [DONE]")
        elif not command.endswith("/"):
            json.loads(done.stdout)
