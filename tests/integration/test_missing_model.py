# SPDX-License-Identifier: AGPL-3.0-or-later
"""A configured model whose files are missing: fetched, replaced by the packaged one, or named."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from context_chat_backend.cli.doctor import examine, hardware_findings
from context_chat_backend.cli.models import models as models_command
from context_chat_backend.config import load
from context_chat_backend.errors import StartError
from context_chat_backend.inference import catalogue, download
from context_chat_backend.inference.catalogue import RemoteFile, RemoteModel
from context_chat_backend.inference.download import Transfer
from context_chat_backend.settings import ModelChoice
from context_chat_backend.store.database import Database
from context_chat_backend.store.spaces import Spaces
from context_chat_backend.wiring import Backend
from context_chat_backend.wiring import models as wiring
from tests.model_server import ModelServer, model_server
from tests.unit.test_local_models import write_model

NAME = "tiny-e5"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    folder = write_model(tmp_path / "source")
    (folder / "config.json").write_text('{"hidden_size": 5}', encoding="utf-8")
    names = ("config.json", "tokenizer.json", "model.onnx")
    contents = {name: (folder / name).read_bytes() for name in names}
    files = tuple(
        RemoteFile(name, name, hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()
    )
    model = RemoteModel(NAME, "somebody/tiny", "c0ffee", "MIT", files)
    for module in (wiring, catalogue):
        monkeypatch.setattr(module, "CATALOGUE", {NAME: model})
    monkeypatch.setattr("context_chat_backend.cli.doctor.CATALOGUE", {NAME: model})
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    with model_server() as running:
        running.files = {f"/somebody/tiny/resolve/c0ffee/{name}": content for name, content in contents.items()}
        monkeypatch.setattr(download, "_USUAL", Transfer(running.url, 1.0))
        monkeypatch.setattr(
            wiring, "fetch", lambda model, models, progress: download.fetch(model, models, progress, download._USUAL)
        )
        yield running


@asynccontextmanager
async def program(storage: Path, database_url: str, *, download: bool = True) -> AsyncIterator[Backend]:
    (storage / "config.yaml").write_text(f"embedding:\n  onnx:\n    model: {NAME}\n", encoding="utf-8")
    environment = {
        "APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": database_url,
        "CC_DOWNLOAD_MODELS_FROM_HF": str(download).lower(),
    }  # fmt: skip
    backend = Backend(load(environment, cores=2))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


async def test_it_is_fetched_at_the_start(server: ModelServer, storage: Path, database_url: str) -> None:
    async with program(storage, database_url) as backend:
        space, vector = await backend.probe_embedding()
        said = {finding.what: finding async for finding in examine(backend)}

    assert space.model.startswith(NAME)
    assert len(vector) == 5
    assert said["model files"].well
    assert "all checksums right" in said["model files"].said


async def test_without_network_the_packaged_one_answers_and_doctor_says_so(
    server: ModelServer, storage: Path, database_url: str
) -> None:
    server.statuses = [403] * 10
    async with program(storage, database_url) as backend:
        space, vector = await backend.probe_embedding()
        said = {finding.what: finding async for finding in examine(backend)}

    assert space.model == "all-MiniLM-L6-v2-int8"
    assert len(vector) == 384
    assert not said["model files"].well
    assert "status 403" in said["model files"].said
    assert "context-chat models fetch" in said["model files"].said


async def test_where_nothing_may_be_downloaded_nothing_is_asked_for(
    server: ModelServer, storage: Path, database_url: str
) -> None:
    async with program(storage, database_url, download=False) as backend:
        assert backend.missing_model is not None
        assert "CC_DOWNLOAD_MODELS_FROM_HF is false" in backend.missing_model

    assert server.ranges == []


async def test_an_index_made_with_it_is_not_made_anew_with_another(
    server: ModelServer, storage: Path, database_url: str
) -> None:
    database = Database(database_url)
    await database.open()
    async with program(storage, database_url) as backend:
        await Spaces(database).ensure((await backend.probe_embedding())[0], ModelChoice("onnx", {"model": NAME}))
    (storage / "model_files" / NAME / "model.onnx").unlink()
    with pytest.raises(StartError, match="the index was made with a model that is missing"):
        async with program(storage, database_url, download=False):
            pass
    await database.close()


def test_a_gpu_that_is_not_used_is_named_with_the_reason(tmp_path: Path) -> None:
    about = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    about.parent.mkdir(parents=True)
    about.write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n", encoding="utf-8")
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nflags : fpu avx2 avx512_vnni\n", encoding="utf-8")

    hardware, gpu = hardware_findings("onnx", "cpu", root=tmp_path)
    assert "avx2 avx512_vnni" in hardware.said
    assert "NVIDIA H200" in hardware.said
    assert "embedding.sentence_transformers uses GPUs" in gpu.said
    assert "computes on it" in hardware_findings("sentence_transformers", "cuda", root=tmp_path)[1].said
    writing = [("llama", "gpu"), ("hugging_face", "cpu")]
    *_, used, unused = hardware_findings("sentence_transformers", "cuda", writing, root=tmp_path)
    assert used.said == "llm.llama computes on it"
    assert "llm.hugging_face does not use it: torch was built without it" in unused.said


def test_without_a_gpu_nothing_is_said_of_one(tmp_path: Path) -> None:
    assert [finding.what for finding in hardware_findings("onnx", "cpu", [("llama", "cpu")], tmp_path)] == ["hardware"]


def test_the_commands_about_models_are_there() -> None:
    assert {command.name for command in models_command.registered_commands} == {"list", "fetch", "verify"}
