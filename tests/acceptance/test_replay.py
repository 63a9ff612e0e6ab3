# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Nextcloud really sent, sent again to the real program: understood, whatever version it was recorded from."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.program import SECRET, Program
from tests.program import headers as signed
from tests.recorded import CONTRACT, WHERE, Recorded, captures, fits, samples

pytestmark = pytest.mark.skipif(not CONTRACT.exists(), reason=WHERE)
METHODS = ("GET", "POST", "PUT", "DELETE")
REFERS_TO_ANOTHER = "push-load-sources-legacy-answer"
"""This sample has no bytes of its own."""
BODY_IS_NOT_READ = "push-beta4-load-sources"
"""The beta reads the status alone."""


@pytest.fixture(scope="module")
def program(module_storage: Path, module_database_url: str) -> Iterator[Program]:
    (module_storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n")
    with Program(module_storage, {"CCB_DB_URL": module_database_url}, forked=True) as running:
        yield running


def to_program(recorded: list[Recorded]) -> list[Recorded]:
    """Requests to the program; the sample of a registration has others between them."""
    return [
        one
        for one in recorded
        if not one.to_nextcloud
        and one.method in METHODS
        and one.target.startswith("/")
        and "/ocs/" not in one.target
        and not one.name.startswith(REFERS_TO_ANOTHER)
    ]


def send(program: Program, one: Recorded) -> httpx.Response:
    headers = {
        name: value
        for name, value in one.headers.items()
        if name.lower() not in ("host", "content-length", "connection")
    }
    if not headers:  # the sample leaves them out
        headers = signed()
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

    if one.name.startswith("appapi-"):  # told in other words there, or about other versions
        assert answer.status_code == 200
        return
    bodies = [body for status, body in one.answers if status == answer.status_code]
    assert bodies, (answer.status_code, answer.text)
    if "json" in answer.headers["content-type"] and not one.name.startswith(BODY_IS_NOT_READ):
        assert any(fits(body, answer.json()) for body in bodies)
