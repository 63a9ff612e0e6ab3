# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Nextcloud really sent, sent again to the real program: understood, whatever version it was recorded from."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.program import SECRET, Program
from tests.recorded import CONTRACT, WHERE, Recorded, captures, fits, samples

pytestmark = pytest.mark.skipif(not CONTRACT.exists(), reason=WHERE)
WITHOUT_SIGNATURE = "/heartbeat"
TELLS_NO_PROGRAM = ("{NC}", "occ ")
"""Lines of the sample of a registration that are not requests to the program."""


@pytest.fixture(scope="module")
def program(module_storage: Path, module_database_url: str) -> Iterator[Program]:
    (module_storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n")
    with Program(module_storage, {"CCB_DB_URL": module_database_url}) as running:
        yield running


def to_program(recorded: list[Recorded]) -> list[Recorded]:
    return [
        one for one in recorded if not one.to_nextcloud and one.target.startswith("/") and "/ocs/" not in one.target
    ]


def send(program: Program, one: Recorded) -> httpx.Response:
    headers = {
        name: value
        for name, value in one.headers.items()
        if name.lower() not in ("host", "content-length", "connection")
    }
    for name, value in headers.items():
        if name.lower() == "authorization-app-api":
            user = b64decode(value).decode().partition(":")[0]
            headers[name] = b64encode(f"{user}:{SECRET}".encode()).decode()
    with httpx.Client(base_url=f"http://127.0.0.1:{program.port}", timeout=60) as client:
        answer = client.request(one.method, one.target, content=one.body, headers=headers)
        if one.target.startswith("/enabled?enabled=0"):  # for the exchanges that follow
            assert client.put("/enabled?enabled=1", headers=headers).json() == {"error": ""}
    return answer


@pytest.mark.parametrize("one", to_program(captures()) if CONTRACT.exists() else [], ids=str)
def test_what_was_recorded_is_answered(program: Program, one: Recorded) -> None:
    answer = send(program, one)

    assert answer.status_code == 200, answer.text
    status, body = one.answers[0]
    if one.target.startswith("/downloadLogs"):
        assert answer.headers["content-type"] == "application/zip"
        return
    assert answer.headers["content-type"].startswith("application/json")
    if one.target == "/loadSources":
        loaded, again = (answer.json()[name] for name in ("loaded_sources", "sources_to_retry"))
        assert again == []
        sent = set(one.body.decode("utf-8", "replace").split('filename="')[1:])
        assert set(loaded) <= {name.partition('"')[0] for name in sent}
    elif status == 200 and not one.target.startswith("/init"):
        assert fits(body, answer.json())


@pytest.mark.parametrize("one", to_program(samples()) if CONTRACT.exists() else [], ids=str)
def test_what_the_documents_describe_is_answered_as_they_say(program: Program, one: Recorded) -> None:
    answer = send(program, one)

    if one.name.startswith("appapi-register-flow"):
        assert answer.status_code == 200
        return
    bodies = [body for status, body in one.answers if status == answer.status_code]
    if one.name == "appapi-exapp-401-0":
        assert answer.status_code in (200, 401)
        return
    assert bodies, (answer.status_code, answer.text)
    if "json" in answer.headers["content-type"]:
        assert any(fits(body, answer.json()) for body in bodies)
