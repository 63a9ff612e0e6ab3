# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the chat server writes down of exchanges, and sends to Elasticsearch: by the real program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chat import QUOTING, ChatServer, chatting
from tests.model_double.client import ModelDouble, running_double
from tests.ports import free_port
from tests.waiting import until

PAIRS = [{"question": "Where is the pump?", "answer": "The pump is behind the mill."}]
LOGIN = {"ELASTICSEARCH_USERNAME": "records", "ELASTICSEARCH_PASSWORD": "a-password-of-the-tests"}


def shipping(port: int) -> str:
    return (
        f"elasticsearch:\n  enabled: true\n  node: http://127.0.0.1:{port}\n  retry_seconds: 1\n"
        "  auth: {username: '${ELASTICSEARCH_USERNAME}', password: '${ELASTICSEARCH_PASSWORD}'}\n"
    )


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(module_storage: Path, module_database_url: str, port: int) -> Iterator[ChatServer]:
    lines = f"{QUOTING}safety: {{enabled: false}}\n{shipping(port)}"
    with chatting(module_storage, module_database_url, lines, **LOGIN) as running:
        running.collection("mill", PAIRS)
        yield running


def test_15_each_exchange_is_one_line_with_all_that_was_said(server: ChatServer) -> None:
    key = server.key("mill")
    for stream in (False, True):
        written = len(server.records())
        asked = server.chat(key, "Where is the pump?", stream=stream, headers={"X-Session-ID": "s1"})
        until(lambda before=written: len(server.records()) > before)  # type: ignore[misc]
        (record,) = server.records()[written:]

        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["timestamp"])
        assert record["request_id"] == asked.headers["X-Request-ID"]
        assert (record["query"], record["response"]) == ("Where is the pump?", "The pump is behind the mill.")
        assert (record["blocked"], record["no_results"], record["cancelled"]) == (False, False, False)
        assert (record["collection"], record["session_id"], record["backend"]) == ("mill", "s1", "extractive")
        assert (record["level"], record["elasticsearch_status"]) == ("info", "unavailable")
        assert record["api_key"]["masked"] == f"{key[:6]}***"
        assert record["ip"] == {"address": "127.0.0.1", "type": "ipv4", "isLocal": True, "source": "peer"}
        assert record["sources"][0]["title"] == "Where is the pump?"
        assert record["latency_ms"] >= record["first_token_ms"] >= 0
        assert record["usage"] == {"prompt_tokens": 0, "completion_tokens": 0}
    file = server.program.storage / "chat" / f"chat-{datetime.now(UTC).date()}.log"
    assert file.parent.stat().st_mode & 0o777 == 0o750
    assert key not in file.read_text(encoding="utf-8")
    assert "The pump" not in server.program.output()


def test_9_that_nothing_was_found_is_written_down(server: ChatServer) -> None:
    written = len(server.records())
    server.chat(server.key("mill"), "Who won the 1950 chess title?")
    until(lambda: len(server.records()) > written)

    assert server.records()[-1]["no_results"]
    assert server.records()[-1]["sources"] == []


def test_16_records_reach_an_elasticsearch_that_comes_late(server: ChatServer, port: int) -> None:
    key = server.key("mill")
    for _ in range(20):
        assert server.chat(key, "Where is the pump?").status_code == 200
    until(lambda: len(server.records()) >= 20)
    assert all(record["elasticsearch_status"] == "unavailable" for record in server.records())
    with running_double(port) as double:
        written = len(server.records())
        until(lambda: len(double.indexed["documents"]) >= written)
        told = double.indexed

        assert told["bulks"][0] >= 20
        (mappings,) = told["indexes"].values()
        assert mappings["mappings"]["properties"]["timestamp"] == {"type": "date"}
        assert mappings["mappings"]["properties"]["ip"] == {"type": "ip"}
        assert [one["query"] for one in told["documents"]] == [one["query"] for one in server.records()]
        assert told["documents"][-1]["collection"] == "mill"
        assert told["documents"][-1]["ip"] == "127.0.0.1"
        assert key not in str(told)
        until(lambda: _status_of_a_new_record(server, key) == "enabled")
        _no_line_is_lost_or_sent_twice(server, double, key)


def _status_of_a_new_record(server: ChatServer, key: str) -> str:
    written = len(server.records())
    server.chat(key, "Where is the pump?")
    until(lambda: len(server.records()) > written)
    return str(server.records()[-1]["elasticsearch_status"])


def _no_line_is_lost_or_sent_twice(server: ChatServer, double: ModelDouble, key: str) -> None:
    """Whatever Elasticsearch answers, and though the program is killed meanwhile."""
    double.index({"status": 503}, {"rejects": [0], "item_status": 429}, {"fault": "hang_up"})
    before = len(server.records())
    for number in range(5):
        server.chat(key, f"Where is the pump number {number}?")
    until(lambda: len(server.records()) >= before + 5)
    server.program.process.kill()  # type: ignore[union-attr]
    server.program.process.wait(30)  # type: ignore[union-attr]
    server.program.start()
    until(
        lambda: (
            {f"Where is the pump number {n}?" for n in range(5)}
            <= {one["query"] for one in double.indexed["documents"]}
        )
    )
    ids = {one["_id"] for one in double.indexed["documents"] if "number" in one["query"]}
    assert len(ids) == 5


def test_what_was_written_from_a_collection_goes_with_it(server: ChatServer) -> None:
    server.collection("weir", [{"question": "How deep is the weir?", "answer": "The weir is six feet deep."}])
    key = server.key("weir")
    written = len(server.records())
    server.chat(key, "How deep is the weir?")
    until(lambda: len(server.records()) > written)
    files = list((server.program.storage / "chat").glob("chat-*.log"))
    assert any(b"six feet" in file.read_bytes() for file in files)
    server.admin("DELETE", "/collections/weir")

    assert not any(b"six feet" in file.read_bytes() for file in files)
    assert any(b"behind the mill" in file.read_bytes() for file in files)
