# SPDX-License-Identifier: AGPL-3.0-or-later
"""`doctor`: look at everything the program needs, and say what to do where something is wrong."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from context_chat_backend.cli.status import embedding_status
from context_chat_backend.errors import ContextChatError
from context_chat_backend.hardware import cpu_features, gpus, usable_cores, usable_memory
from context_chat_backend.inference.catalogue import CATALOGUE
from context_chat_backend.inference.download import is_there, wrong_files
from context_chat_backend.wiring import Backend

_LOW_DISK_BYTES = 2 * 1024**3
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "bf16")
"""Of a processor, what models run faster with."""
_UNUSED_BECAUSE = {
    "onnx": "embedding.onnx runs on the CPU; embedding.sentence_transformers uses GPUs (pip install '.[transformers]')",
    "hashing": "embedding.hashing has no model",
    "llama": "llama-cpp-python was built without GPU (CMAKE_ARGS=-DGGML_CUDA=on pip install --no-binary :all: "
    "llama-cpp-python), or n_gpu_layers is 0",
    "sentence_transformers": "torch was built without it, or 'device' says cpu",
    "hugging_face": "torch was built without it, or 'device' is -1",
}
_CLOCK_SECONDS = 5.0
"""More than an answer takes; less than what happens between two actions of a person."""
_LOW_RECALL = 0.85
"""What an index of rightly built, living vectors is well above."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    well: bool
    said: str


async def examine(backend: Backend) -> AsyncIterator[Finding]:
    """Findings, one after the other; `backend` runs."""
    for warning in backend.config.warnings:
        yield Finding("configuration", True, f"note: {warning}")
    yield Finding("configuration", True, str(backend.config.storage / "config.yaml"))
    yield await _database(backend)
    yield clock_finding("database's", (await backend.database.clock_ahead()).total_seconds())
    yield await _row_security(backend)
    async for finding in _search_indexes(backend):
        yield finding
    yield await _model(backend)
    async for finding in _language_models(backend):
        yield finding
    async for finding in _model_files(backend):
        yield finding
    devices = (backend.config.embedding.name, backend.embedding_device, backend.language_devices())
    for finding in await asyncio.to_thread(hardware_findings, *devices):
        yield finding
    yield await _spaces(backend)
    yield await _reranker(backend)
    yield await _jail(backend)
    yield _recognition(backend)
    yield _disk(backend)
    async for finding in _nextcloud(backend):
        yield finding
    states = await backend.ledger.count_states()
    said = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "nothing indexed yet"
    yield Finding("index", True, said)


async def _database(backend: Backend) -> Finding:
    try:
        versions = await backend.database.version()
    except ContextChatError as error:
        return Finding("database", False, f"{error}: is it running, and is its URL right?")
    kind = "embedded" if backend.config.database_url is None else "external"
    return Finding("database", True, f"PostgreSQL {versions['postgresql']}, pgvector {versions.get('vector')}, {kind}")


async def _row_security(backend: Backend) -> Finding:
    if await backend.database.guards_rows():
        return Finding("row security", True, "readable text is guarded by the database, too")
    said = (
        "this role of the database passes row-level security, so searches alone keep to the rights: "
        "give the program a role that is no superuser and has no BYPASSRLS"
    )
    return Finding("row security", False, said)


async def _search_indexes(backend: Backend) -> AsyncIterator[Finding]:
    indexes = backend.search_indexes
    if missing := await indexes.missing():
        said = f"{', '.join(missing)} missing, searches scan instead: run 'context-chat indexes build'"
        yield Finding("search indexes", False, said)
        return
    recall = await indexes.recall()
    if recall is None:
        yield Finding("search indexes", True, "there")
    elif recall < _LOW_RECALL:
        said = f"the index on vectors finds {recall:.0%} of the nearest: run 'context-chat indexes build --anew'"
        yield Finding("search indexes", False, said)
    else:
        yield Finding("search indexes", True, f"there; the one on vectors finds {recall:.0%} of the nearest")
    for table, rows in (await indexes.bloated()).items():
        yield Finding("dead rows", False, f"{rows} in {table}: is autovacuum on? Run 'VACUUM {table}'")


async def _model(backend: Backend) -> Finding:
    try:
        space, vector = await backend.probe_embedding()
    except ContextChatError as error:
        return Finding("embedding", False, str(error))
    return Finding("embedding", True, f"{space.model}, {len(vector)} dimensions")


async def _language_models(backend: Backend) -> AsyncIterator[Finding]:
    for name, failure in await backend.probe_language_models():
        yield Finding("language model", failure is None, name if failure is None else f"{name}: {failure}")


async def _spaces(backend: Backend) -> Finding:
    status = await embedding_status(backend)
    return Finding("embedding space", status.by_meaning and not status.stopped, "; ".join(status.lines))


async def _model_files(backend: Backend) -> AsyncIterator[Finding]:
    if backend.missing_model is not None:
        said = f"{backend.missing_model}. Until then the packaged MiniLM answers, which knows English best"
        wanted = backend.config.download_models  # else it was decided so
        yield Finding("model files", not wanted, said if wanted else f"note: {said}")
    model = CATALOGUE.get(str(backend.config.embedding.options.get("model")))
    models = backend.config.storage / "model_files"
    if model is None or not is_there(model, models):
        return
    wrong = await asyncio.to_thread(wrong_files, model, models)
    if wrong:
        said = (
            f"{', '.join(wrong)} of {model.name} have other checksums than they must: run 'context-chat models fetch'"
        )
        yield Finding("model files", False, said)
    else:
        yield Finding("model files", True, f"{model.name}, {model.size / 1024**2:.0f} MiB, all checksums right")


def hardware_findings(
    embedding: str, device: str, writing: Sequence[tuple[str, str]] = (), root: Path = Path("/")
) -> list[Finding]:
    """What the machine has, and whether models make use of it. Blocks.

    `device` is what the embedding model computes on, `writing` the same of language models, by their names.
    """
    features = [name for name in _FEATURES if name in cpu_features(root)]
    there = gpus(root)
    said = (
        f"{usable_cores(root)} cores, {usable_memory(root) / 1024**3:.1f} GiB memory, {' '.join(features) or 'no AVX'}"
    )
    for gpu in there:
        memory = "" if gpu.memory_bytes is None else f" with {gpu.memory_bytes / 1024**3:.0f} GiB"
        said += f"; {gpu.name}{memory}"
    findings = [Finding("hardware", True, said)]
    if there and device == "cpu":
        why = _UNUSED_BECAUSE.get(embedding, f"embedding.{embedding} does not compute here")
        findings.append(Finding("GPU", True, f"note: it is not used for embedding: {why}"))
    elif device in ("cuda", "gpu"):
        findings.append(Finding("GPU", True, f"embedding.{embedding} computes on it"))
    for model, of_model in writing:
        if of_model != "cpu":
            findings.append(Finding("GPU", True, f"llm.{model} computes on it"))
        elif there:
            findings.append(Finding("GPU", True, f"note: llm.{model} does not use it: {_UNUSED_BECAUSE[model]}"))
    return findings


async def _reranker(backend: Backend) -> Finding:
    name = backend.config.reranker.name
    try:
        await backend.probe_reranker()
    except ContextChatError as error:
        return Finding("re-ranker", False, f"{name}: {error}; meanwhile passages stay in the order of the search")
    return Finding("re-ranker", True, name)


async def _jail(backend: Backend) -> Finding:
    try:
        missing = await backend.open_walls()
    except OSError as error:
        return Finding("parsers", False, f"{error}: nothing can be indexed; is there memory to start one?")
    if not missing:
        said = "read files without network, without writing, and without reading anything else"
        return Finding("parsers", True, said)
    cure = "a kernel from 5.13 on x86_64 or aarch64 offers this, and the container must allow seccomp and landlock"
    return Finding("parsers", False, f"not kept from: {'; '.join(missing)}; {cure}")


def _recognition(backend: Backend) -> Finding:
    wanted, there = backend.config.indexing.recognition_languages, backend.recognition_languages()
    if missing := [name for name in wanted if name not in there]:
        said = f"no {', '.join(missing)}: install Debian's tesseract-ocr-{missing[0]}, or change ocr_languages"
        return Finding("text in pictures", False, said)
    if not there:
        said = "note: not read; to have it read install tesseract with its languages, on Debian tesseract-ocr-deu"
        return Finding("text in pictures", True, said)
    return Finding("text in pictures", True, f"read in {', '.join(wanted or there)}")


def _disk(backend: Backend) -> Finding:
    free = shutil.disk_usage(backend.config.storage).free
    said = f"{free / 1024**3:.1f} GiB free in {backend.config.storage}"
    return Finding("disk", free >= _LOW_DISK_BYTES, said if free >= _LOW_DISK_BYTES else f"{said}: make room")


def clock_finding(whose: str, ahead: float) -> Finding:
    """Whether another clock, so many seconds `ahead` of ours, lets times be compared."""
    if abs(ahead) < _CLOCK_SECONDS:
        return Finding("clock", True, f"the {whose} clock agrees with ours")
    said = (
        f"the {whose} clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours: an action may count as "
        "older than what it is about; keep the time of all machines by NTP"
    )
    return Finding("clock", False, said)


def _clock_of(answer: httpx.Response) -> float | None:
    """How many seconds Nextcloud's clock is ahead of ours, by its header `Date`, which has whole seconds."""
    try:
        there = parsedate_to_datetime(answer.headers["Date"])
        return (there - datetime.now(UTC)).total_seconds() + 0.5
    except (KeyError, TypeError, ValueError):
        return None


async def _nextcloud(backend: Backend) -> AsyncIterator[Finding]:
    url = backend.config.app.nextcloud_url
    if url is None:
        yield Finding("Nextcloud", True, "not configured (NEXTCLOUD_URL); the command line works without it")
        return
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(f"{url}/status.php")
    except httpx.HTTPError as error:
        yield Finding("Nextcloud", False, f"{url} does not answer ({type(error).__name__}): check NEXTCLOUD_URL")
        return
    yield Finding("Nextcloud", answer.is_success, f"{url} answers with status {answer.status_code}")
    if (ahead := _clock_of(answer)) is not None:
        yield clock_finding("Nextcloud's", ahead)
