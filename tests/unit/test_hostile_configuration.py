# SPDX-License-Identifier: AGPL-3.0-or-later
"""Configurations that were damaged are read, or refused in a sentence that names the key: never anything else."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from context_chat_backend.config import load
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.environment import VARIABLES, read_environment
from tests.mutation import VALUES, damaged, places, replaced

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
vectordb: {pgvector: {connection: 'postgresql://a:b@c/d'}}
embedding: {openai: {base_url: 'http://x/v1', model_name: m, auth: {apikey: k}, batch_size: 3, dimension: 5}}
llm: {openai: {base_url: 'http://x/v1', model: m, temperature: 0.5, timeout: 9, template: '{context} {question}'}}
llm_fallback: [{extractive: null}, {nc_texttotext: {context_tokens: 4096, max_tokens: 100}}]
reranker: {remote: {base_url: 'http://x', model: m, api_key: k, request_timeout: 3}}
max_source_bytes: 1000
waiting_sources_limit: 10
chunk_tokens: 100
chunk_overlap_tokens: 10
parser_processes: 2
ocr_languages: [deu, eng]
tasks_at_once: 2
check_rights_with_nextcloud: true
verify_ssl: false
conversation_days: 3
log_level: debug
audit_log: true
exclude: {paths: ['*.log'], media_types: ['video/*'], larger_than: 10, older_than_days: 5}
listeners: [{port: 5000, surfaces: [openai, chatqna], host: 127.0.0.1}]
environment: production
jwt: [{issuer: i, audience: a, jwks_url: 'https://x/keys', users: own, claim: sub}]
chatqna: {allow_anonymous: true, requests_per_minute: 5}
safety: {judge: words, words: [bad], mode: strict, answers: true, max_retries: 2, retry_delay: 0.5}
limits: {connections: 100, json_depth: 20}
debug: false
embedding_chunk_size: 2000
uvicorn_log_level: info
"""
LAUGHS = "a: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9)) + "chunk_tokens: *a8\n"
NOT_JSON = st.sampled_from(({1: 2}, {None: None}, {(1, 2): 3}, b"bytes", {1, 2}))
WHOLE = yaml.safe_load(TEXT)
PLACES = list(places(WHOLE))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def outcome(folder: Path, text: bytes | str, **environment: str) -> str | None:
    """What is said of a configuration; None when it is read."""
    (folder / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        load({"APP_PERSISTENT_STORAGE": str(folder), **environment}, cores=2)
    except ConfigurationError as error:
        said = str(error)
        assert said
        assert "\n" not in said
        assert len(said) < 2000
        return said
    return None


def test_the_whole_is_read_as_it_stands(folder: Path) -> None:
    assert outcome(folder, TEXT) is None


@settings(max_examples=120, derandomize=True)
@given(place=st.sampled_from(PLACES), value=VALUES | NOT_JSON)
def test_a_value_that_does_not_fit_is_refused_by_its_key(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    _one_value(folder, place, value)


@pytest.mark.slow
@settings(max_examples=2000, derandomize=True)
@given(place=st.sampled_from(PLACES), value=VALUES | NOT_JSON)
def test_many_values_that_do_not_fit_are_refused_by_their_keys(
    folder: Path, place: tuple[Any, ...], value: Any
) -> None:
    _one_value(folder, place, value)


def _one_value(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    keys = replaced(WHOLE, place, value)
    said = outcome(folder, yaml.dump(keys))
    assert said is None or "not YAML" in said or place[0] in said


@settings(max_examples=40, derandomize=True)
@given(place=st.sampled_from(PLACES), name=st.text(max_size=30) | st.integers() | st.none() | st.booleans())
def test_a_key_that_is_none_is_refused(folder: Path, place: tuple[Any, ...], name: Any) -> None:
    keys = copy.deepcopy(WHOLE)
    inner = keys
    for key in place[:-1]:
        inner = inner[key]
    if isinstance(inner, dict):
        inner[name] = inner.pop(place[-1])
        outcome(folder, yaml.dump(keys))


@pytest.mark.parametrize("times", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(folder: Path, times: int) -> None:
    originals = [TEXT.encode(), (ROOT / "config.cpu.yaml").read_bytes(), (ROOT / "config.gpu.yaml").read_bytes()]
    for number in range(times):
        chance = random.Random(f"configuration {number}")
        outcome(folder, damaged(chance.choice(originals), chance))


@pytest.mark.parametrize(
    "text",
    [
        "log_level: 2024-99-99", "a: !!python/object:os.system x", "a: &a [*a]", "a: *b", "- 1", "1", "? [1]\n: 2",
        "{" * 1500,
        "a: " + "[" * 1500 + "]" * 1500, "a: 0x", "chunk_tokens: 1:99:99", "\t", "a: 'b", "%YAML 9.9\n---\n",
        "a: b\n---\nc: d",
        "chunk_tokens: 0b", "log_level: !!float x", "log_level: !!timestamp x", "log_level: !!int x",
        "log_level: !!binary x",
        LAUGHS, "planner: {messages_per_minute: 0x" + "f" * 6000 + "}",
    ],
)  # fmt: skip
def test_yaml_with_traps_is_refused(folder: Path, text: str) -> None:
    assert outcome(folder, text)


@settings(max_examples=120, derandomize=True)
@given(name=st.sampled_from(sorted(set(VARIABLES) - {"APP_PERSISTENT_STORAGE"})), value=st.text(max_size=40))
def test_variables_are_read_or_refused_by_name(folder: Path, name: str, value: str) -> None:
    said = outcome(folder, "", **{name: value})
    assert said is None or name in said or name == "APP_HOST"  # it decides whether APP_SECRET is missing


@settings(max_examples=100, derandomize=True)
@given(text=st.binary(max_size=200))
def test_a_damaged_env_file_is_read_or_refused(folder: Path, text: bytes) -> None:
    (folder / ".env").write_bytes(text)
    with suppress(ConfigurationError):
        assert isinstance(read_environment(folder, {}), dict)
