# SPDX-License-Identifier: AGPL-3.0-or-later
"""One contract for all embedders, and what is special to the packaged model."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.embedding import build_embedder, build_local, graph
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.inference.embedding.local_model import packaged
from context_chat_backend.inference.embedding.onnx import OnnxEmbedder
from context_chat_backend.ports import Embedder
from tests.embedding_server import DIMENSION, embedding_server
from tests.gguf import write_minilm

TEXTS = ["The cat sat on the mat.", "", "Ein Satz mit Ümlauten.", "汉字和😀", "word " * 5000, "\t\n", "[CLS] [SEP]"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def gguf(models: Path) -> str:
    pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    return write_minilm(models / "minilm.gguf").name


@pytest.fixture(params=["onnx", "onnx in a process", "hashing", "openai", "llama", "sentence_transformers"])
async def embedder(request: pytest.FixtureRequest, models: Path) -> AsyncIterator[Embedder]:
    name, _, apart = request.param.partition(" ")
    options: dict[str, Any] = {}
    if name == "llama":
        options["model"] = request.getfixturevalue("gguf")
    elif name == "sentence_transformers":
        pytest.importorskip("sentence_transformers", reason="the extra 'transformers' is not installed")
    with embedding_server() as server:
        if name == "openai":
            options = {"base_url": server.url, "dimension": DIMENSION}
        made = (build_embedder if apart else build_local)(name, options, models=models, threads=1)
        await made.open()
        yield made
        await made.close()


@pytest.fixture
async def onnx(models: Path) -> AsyncIterator[OnnxEmbedder]:
    made = OnnxEmbedder(packaged(models, quantised=True), threads=1)
    yield made
    await made.close()


async def test_vectors_have_the_dimension_of_the_space_and_length_one(embedder: Embedder) -> None:
    vectors = await embedder.embed_passages(TEXTS)

    assert vectors.shape == (len(TEXTS), embedder.space.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


async def test_a_question_has_one_vector(embedder: Embedder) -> None:
    vector = await embedder.embed_question("Where is the cat?")

    assert vector.shape == (embedder.space.dimension,)
    assert math.isclose(float(np.linalg.norm(vector)), 1, abs_tol=1e-4)


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert (await embedder.embed_passages([])).shape == (0, embedder.space.dimension)


async def test_a_vector_does_not_depend_on_the_batch_nor_on_its_order(embedder: Embedder) -> None:
    together = await embedder.embed_passages(TEXTS)
    reverse = await embedder.embed_passages(TEXTS[::-1])
    alone = np.concatenate([await embedder.embed_passages([text]) for text in TEXTS])

    assert (together * reverse[::-1]).sum(axis=1).min() > 0.96
    assert (together * alone).sum(axis=1).min() > 0.96  # int8 activations are scaled by batch


async def test_the_same_text_has_the_same_vector(embedder: Embedder) -> None:
    assert np.array_equal(await embedder.embed_question("once"), await embedder.embed_question("once"))


async def test_what_speaks_of_the_same_is_nearer(embedder: Embedder) -> None:
    question = await embedder.embed_question("Where does the harbour ferry leave?")
    near, far = await embedder.embed_passages(["The ferry leaves from the old harbour.", "Add two eggs and stir well."])

    assert question @ near > question @ far


async def test_what_is_said_of_tokens_suffices_to_split_by(embedder: Embedder) -> None:
    text = "Ein Satz mit Ümlauten. 汉字和😀"
    starts = list(embedder.token_starts(text))

    assert starts == sorted(starts)
    assert 0 <= starts[0] <= starts[-1] < len(text)
    assert embedder.max_tokens > 100
    assert embedder.device in ("cpu", "cuda", "gpu", "remote")


class HeldSession:
    """Several texts at once wait until they are let go. Notes how far back the thread stands that asks."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.standing: dict[str, int] = {}

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input_ids")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="sentence_embedding")]

    def run(self, _: list[str], inputs: dict[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        texts = len(inputs["input_ids"])
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.standing["question" if texts == 1 else "passages"] = nice
        if texts > 1:
            self.begun.set()
            assert self.let_go.wait(60)
        return [np.ones((texts, 384), dtype=np.float32)]


async def test_a_question_does_not_wait_for_passages_that_are_being_embedded(
    onnx: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = HeldSession()
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: session)
    passages = asyncio.create_task(onnx.embed_passages(["one", "two"]))
    await asyncio.to_thread(session.begun.wait, 60)
    async with asyncio.timeout(60):
        await onnx.embed_question("quick?")
    assert not passages.done()
    session.let_go.set()

    assert (await passages).shape == (2, 384)
    last = 19
    assert session.standing["passages"] > session.standing["question"] or session.standing["question"] == last


async def test_meaning_counts_without_common_words(onnx: OnnxEmbedder) -> None:
    question = await onnx.embed_question("Which animal sleeps on the sofa?")
    near, far = await onnx.embed_passages(["A kitten naps on the couch.", "Shares fell on the stock exchange."])

    assert question @ near > question @ far + 0.2


async def test_the_graph_computes_what_the_weights_say(models: Path) -> None:
    """fp32 against BERT written out in numpy; int8 against fp32."""
    exact, rounded = (OnnxEmbedder(packaged(models, quantised=quantised), threads=1) for quantised in (False, True))
    texts = [text for text in TEXTS if len(text) < 100]
    fp32, int8 = await exact.embed_passages(texts), await rounded.embed_passages(texts)
    await exact.close()
    await rounded.close()

    assert (fp32 * np.array([bert(text) for text in texts])).sum(axis=1).min() > 0.9999
    assert (fp32 * int8).sum(axis=1).min() > 0.97
    assert exact.space != rounded.space


async def test_llama_computes_what_onnx_does(models: Path, gguf: str) -> None:
    exact = OnnxEmbedder(packaged(models, quantised=False), threads=1)
    llama = build_local("llama", {"model": gguf}, models=models, threads=1)
    await llama.open()
    texts = [text for text in TEXTS if 5 < len(text) < 100 and "[CLS]" not in text]
    fp32, f16 = await exact.embed_passages(texts), await llama.embed_passages(texts)
    await exact.close()
    await llama.close()

    assert (fp32 * f16).sum(axis=1).min() > 0.999


async def test_sentence_transformers_computes_what_onnx_does(models: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra 'transformers' is not installed")
    exact = OnnxEmbedder(packaged(models, quantised=False), threads=1)
    torch = build_local("sentence_transformers", {}, models=models, threads=1)
    await torch.open()
    texts = [text for text in TEXTS if 5 < len(text) < 100]
    fp32, other = await exact.embed_passages(texts), await torch.embed_passages(texts)
    await exact.close()
    await torch.close()

    assert (fp32 * other).sum(axis=1).min() > 0.999


async def test_a_gguf_that_does_not_name_its_pooling_is_pooled_by_the_mean(models: Path, gguf: str) -> None:
    named = build_local("llama", {"model": gguf}, models=models, threads=1)
    unnamed = build_local(
        "llama", {"model": write_minilm(models / "u.gguf", pooling=False).name}, models=models, threads=1
    )
    for embedder in (named, unnamed):
        await embedder.open()
    vectors = [await embedder.embed_question("text") for embedder in (named, unnamed)]
    for embedder in (named, unnamed):
        await embedder.close()

    assert np.allclose(vectors[0], vectors[1], atol=1e-6)


def test_a_gguf_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    with pytest.raises(ConfigurationError, match=r"missing\.gguf is not there"):
        build_embedder("llama", {"model": "missing.gguf"}, models=tmp_path, threads=1)


async def test_a_gguf_that_is_broken_is_said_to_be(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    made = build_embedder("llama", {"model": "broken.gguf"}, models=tmp_path, threads=1)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        await made.open()
    await made.close()


async def test_a_broken_graph_in_the_cache_is_built_again(tmp_path: Path) -> None:
    first = OnnxEmbedder(packaged(tmp_path, quantised=True), threads=1)
    before = await first.embed_question("text")
    await first.close()
    (cached,) = tmp_path.glob("*.onnx")
    cached.write_bytes(b"half a graph")

    second = OnnxEmbedder(packaged(tmp_path, quantised=True), threads=1)
    after = await second.embed_question("text")
    await second.close()

    assert np.array_equal(before, after)
    assert [path.name for path in tmp_path.iterdir()] == [cached.name]


def test_an_unknown_embedder_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'openai', 'ollama' or 'hashing'"):
        build_embedder("magic", {}, models=tmp_path, threads=1)


async def test_hashing_takes_any_dimension() -> None:
    assert (await HashingEmbedder(7).embed_question("text")).shape == (7,)


def bert(text: str) -> NDArray[np.float32]:
    """The model's vector of one text, step by step as Devlin et al. 2019 and the model's card describe it."""
    model = graph.packaged_model()
    w = graph.read_safetensors(model / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids

    def norm(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"], dtype=np.float32)

    def linear(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"], dtype=np.float32)

    hidden = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = norm("embeddings.LayerNorm", hidden + w["embeddings.token_type_embeddings.weight"][0])
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{name}.attention.self.{part}", hidden).reshape(len(ids), 12, 32).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(32))
        context = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), 384)
        attended = linear(f"{name}.attention.output.dense", context)
        hidden = norm(f"{name}.attention.output.LayerNorm", attended + hidden)
        inner = linear(f"{name}.intermediate.dense", hidden)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        hidden = norm(f"{name}.output.LayerNorm", linear(f"{name}.output.dense", inner) + hidden)
    pooled = hidden.mean(0)
    return np.asarray(pooled / np.linalg.norm(pooled), dtype=np.float32)
