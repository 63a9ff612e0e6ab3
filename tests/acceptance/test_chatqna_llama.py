# SPDX-License-Identifier: AGPL-3.0-or-later
"""ChatQnA in front of a real llama.cpp server with a small model on the CPU (check 25 of its specification)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.gguf import write_llama
from tests.ports import free_port
from tests.program import Program
from tests.streams import sent_in
from tests.waiting import until

pytestmark = pytest.mark.slow
pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
pytest.importorskip("starlette_context", reason="the server of llama-cpp-python is not installed")


def is_there(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False


@contextmanager
def llama_server(model: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port), "--n_ctx", "2048"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            models = f"http://127.0.0.1:{port}/v1/models"
            until(lambda: process.poll() is not None or is_there(models), 120)
            assert process.poll() is None, "llama_cpp.server has ended"
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


# Check 25: checks 2, 4 and 7 hold, and the tokens are counted.
def test_a_real_model_answers_at_once_and_as_it_writes(storage: Path, database_url: str) -> None:
    port = free_port()
    with llama_server(write_llama(storage / "tiny.gguf")) as url:
        (storage / "config.yaml").write_text(
            f"embedding:\n  hashing:\nenvironment: development\nllm:\n  openai:\n    base_url: {url}\n"
            f"    model: tiny\n    n_ctx: 2048\nlisteners:\n  - port: {port}\n    surfaces: [chatqna]\n",
            encoding="utf-8",
        )
        with (
            Program(storage, {"CCB_DB_URL": database_url}),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
        ):
            asked = {"messages": "Hello, how are you?", "temperature": 0, "seed": 7, "max_tokens": 5}
            whole = client.post("/v1/chatqna", json=asked).json()
            streamed = client.post(
                "/v1/chatqna", json=asked | {"stream": True, "stream_options": {"include_usage": True}}
            )
            health = client.get("/health")

    assert (whole["object"], whole["model"]) == ("chat.completion", "chatqna")
    text = whole["choices"][0]["message"]["content"]
    assert text
    assert len(text.removesuffix(" …").split()) <= 5
    assert whole["usage"]["completion_tokens"] > 0
    *sent, done = sent_in(streamed.text)
    chunks = [json.loads(one) for one in sent]
    assert done == "[DONE]"
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in chunks if one["choices"]) == text
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert (health.status_code, health.text) == (200, '{"status":"ok"}')
