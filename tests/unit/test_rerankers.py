# SPDX-License-Identifier: AGPL-3.0-or-later
"""One contract for all re-rankers, and what is special to each; against real graphs and real servers."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.reranking import build_reranker
from context_chat_backend.ports import Reranker

QUESTION = "where does the harbour ferry leave"
NEAR, FAR = "the ferry will leave from the old harbour", "add two eggs and stir well"
TEXTS = [NEAR, FAR, "", "Ein Satz mit Ümlauten.", "汉字和😀", "word " * 5000, "\t\n", "[CLS] [SEP]", "old harbour"]
WORDS = sorted({*QUESTION.split(), *NEAR.split(), *FAR.split(), "word"})
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
needs_transformers = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="the extra 'transformers' is not installed"
)


def write_tokenizer(folder: Path) -> None:
    """Words of the tests, question and text joined as BERT has them."""
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def write_graph(folder: Path, *, labels: int = 1) -> None:
    """A tiny cross-encoder with random weights: the sum of the question's word vectors times that of the text's.

    Random vectors are nearly orthogonal, so that shared words make the product large. With two labels the logits are
    minus and plus half of it.
    """
    vectors = np.random.default_rng(7).normal(0, 0.2, (len(SPECIAL + WORDS), 64)).astype(np.float32)
    vectors[: len(SPECIAL)] = 0
    spread = {1: [[1.0]], 2: [[-0.5, 0.5]], 3: [[1.0, 1.0, 1.0]]}[labels]
    constants = {"vectors": vectors, "spread": np.array(spread, np.float32), "tokens": np.array([1]),
                 "last": np.array([2]), "one": np.array(1, np.float32)}  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["type"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "type"], ["first"]),
        *(
            node
            for side, kind in (("question", "first"), ("text", "type"))
            for node in (
                helper.make_node("Mul", [kind, "mask"], [f"{side}_mask"]),
                helper.make_node("Unsqueeze", [f"{side}_mask", "last"], [f"{side}_column"]),
                helper.make_node("Mul", ["words", f"{side}_column"], [f"{side}_words"]),
                helper.make_node("ReduceSum", [f"{side}_words", "tokens"], [f"{side}_sum"], keepdims=0),
            )
        ),
        helper.make_node("Mul", ["question_sum", "text_sum"], ["product"]),
        helper.make_node("ReduceSum", ["product", "tokens"], ["relevance"], keepdims=1),
        helper.make_node("MatMul", ["relevance", "spread"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def write_transformer(folder: Path) -> None:
    """A tiny BERT for sequence classification with random weights."""
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    write_tokenizer(folder)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    file = str(folder / "tokenizer.json")
    PreTrainedTokenizerFast(tokenizer_file=file, model_max_length=64, **names).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(SPECIAL + WORDS), max_position_embeddings=64, num_labels=1, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)


Reply = tuple[int, bytes]


class Server:
    """Speaks the contract of `/rerank` in a thread: a text's score is the number of words it shares with the query."""

    def __init__(self, *replies: Reply | Callable[[], Reply], form: str = "documents") -> None:
        """Gives each request the next of `replies`, and when they are used up, what its form demands."""
        self.replies = list(replies)
        self.form = form
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append(body)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                assert self.path == "/v1/rerank"
                reply = server.replies.pop(0) if server.replies else server.judged(body)
                status, answer = reply() if callable(reply) else reply
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer) + (100 if status == 299 else 0)))
                self.end_headers()
                self.wfile.write(answer)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that gives up is part of the tests."""

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def judged(self, body: dict[str, Any]) -> Reply:
        if self.form not in body:
            return 422, b'{"error": "missing field"}'
        wanted = set(body["query"].split())
        scored = sorted(
            ((len(wanted & set(text.split())), index) for index, text in enumerate(body[self.form])), reverse=True
        )
        if self.form == "texts":
            return 200, json.dumps([{"index": index, "score": score} for score, index in scored]).encode()
        return 200, json.dumps({"results": [{"index": n, "relevance_score": s} for s, n in scored]}).encode()

    @contextmanager
    def running(self) -> Iterator[Server]:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._http.serve_forever, 0.01)
            try:
                yield self
            finally:
                self._http.shutdown()
        self._http.server_close()


@contextmanager
def options_of(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The options of a working re-ranker."""
    if name.startswith("remote"):
        with Server(form=name.partition(" ")[2]).running() as server:
            yield {"base_url": server.url, "model": "m", "api_key": "key"}
        return
    if name == "onnx":
        write_tokenizer(folder)
        write_graph(folder)
    elif name == "cross_encoder":
        write_transformer(folder)
    yield {"model": str(folder)}


KINDS = ["none", "onnx", "remote documents", "remote texts",
         pytest.param("cross_encoder", marks=[pytest.mark.slow, needs_transformers])]  # fmt: skip


@pytest.fixture(params=KINDS)
async def reranker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reranker]:
    name: str = request.param
    with options_of(name, tmp_path) as options:
        made = build_reranker(name.partition(" ")[0], options, models=tmp_path, threads=1)
        yield made
        await made.close()


async def test_each_text_has_one_finite_score(reranker: Reranker) -> None:
    scores = await reranker.scores(QUESTION, TEXTS)

    assert len(scores) == len(TEXTS)
    assert all(type(score) is float and math.isfinite(score) for score in scores)


async def test_no_texts_have_no_scores(reranker: Reranker) -> None:
    assert await reranker.scores(QUESTION, []) == []


async def test_a_score_belongs_to_its_text_whatever_the_order_and_the_company(reranker: Reranker) -> None:
    together = await reranker.scores(QUESTION, TEXTS)
    reverse = await reranker.scores(QUESTION, TEXTS[::-1])
    alone = [(await reranker.scores(QUESTION, [text]))[0] for text in TEXTS]

    assert np.allclose(together, reverse[::-1], atol=1e-4)
    assert np.allclose(together, alone, atol=1e-4)


async def test_questions_at_once_do_not_disturb_each_other(reranker: Reranker) -> None:
    questions = [QUESTION, "", "eggs", "word " * 3000]
    in_turn = [await reranker.scores(question, TEXTS) for question in questions]
    at_once = await asyncio.gather(*(reranker.scores(question, TEXTS) for question in questions))

    assert np.allclose(in_turn, at_once, atol=1e-4)


@pytest.mark.parametrize("kind", ["onnx", "remote documents", "remote texts"])
async def test_what_answers_is_above_what_does_not(kind: str, tmp_path: Path) -> None:
    with options_of(kind, tmp_path) as options:
        reranker = build_reranker(kind.partition(" ")[0], options, models=tmp_path, threads=1)
        far, near = await reranker.scores(QUESTION, [FAR, NEAR])
        await reranker.close()

    assert near > far


def onnx(folder: Path) -> Reranker:
    return build_reranker("onnx", {"model": "tiny"}, models=folder.parent, threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_tokenizer(folder)
    return folder


async def test_of_two_labels_the_second_is_relevant(folder: Path) -> None:
    write_graph(folder)
    one = await onnx(folder).scores(QUESTION, TEXTS)
    write_graph(folder, labels=2)
    two = await onnx(folder).scores(QUESTION, TEXTS)

    assert np.allclose(one, two, atol=1e-4)


async def test_a_classifier_of_more_labels_is_no_reranker(folder: Path) -> None:
    write_graph(folder, labels=3)

    with pytest.raises(ModelUnavailable, match="one or two labels"):
        await onnx(folder).scores(QUESTION, TEXTS)


async def test_a_broken_graph_is_a_model_that_is_not_available(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"half a graph")

    with pytest.raises(ModelUnavailable, match="cannot run"):
        await onnx(folder).scores(QUESTION, TEXTS)


def test_a_folder_without_a_model_is_refused_by_the_name_of_the_file(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"reranker\.onnx\.model: .*model\.onnx is not there"):
        onnx(folder)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("magic", {}, "'none', 'onnx', 'cross_encoder', 'remote' or 'ollama'"),
        ("onnx", {}, "reranker.onnx.model"),
        ("cross_encoder", {}, "reranker.cross_encoder.model"),
        ("remote", {}, "reranker.remote.base_url"),
    ],
)
def test_wrong_options_are_refused_by_name(name: str, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        build_reranker(name, options, models=tmp_path, threads=1)


@pytest.mark.skipif(find_spec("sentence_transformers") is not None, reason="the extra 'transformers' is installed")
def test_without_the_extra_a_cross_encoder_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("pip install '.[transformers]'")):
        build_reranker("cross_encoder", {"model": "m"}, models=tmp_path, threads=1)


@pytest.mark.slow
@needs_transformers
async def test_a_cross_encoder_that_is_not_there_is_not_available(tmp_path: Path) -> None:
    made = build_reranker("cross_encoder", {"model": str(tmp_path)}, models=tmp_path, threads=1)

    with pytest.raises(ModelUnavailable, match="cannot run"):
        await made.scores(QUESTION, TEXTS)
    await made.close()


def remote(url: str, *, seconds: float = 5, model: str | None = "m") -> Reranker:
    options = {"base_url": url, "model": model, "api_key": "key", "request_timeout": seconds}
    return build_reranker("remote", options, models=Path(), threads=1)


async def test_the_server_gets_model_key_query_and_documents(tmp_path: Path) -> None:
    with Server().running() as server:
        await remote(server.url).scores("q", ["a", "b"])
        await remote(server.url, model=None).scores("q", ["a"])

    assert server.requests == [
        {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2},
        {"query": "q", "documents": ["a"], "top_n": 1},
    ]
    assert server.headers[0]["authorization"] == "Bearer key"


async def test_a_server_that_wants_texts_is_asked_in_vain_once() -> None:
    with Server(form="texts").running() as server:
        reranker = remote(server.url)
        assert await reranker.scores(QUESTION, [FAR, NEAR]) == await reranker.scores(QUESTION, [FAR, NEAR])

    assert [set(request) for request in server.requests] == [
        {"model", "query", "documents", "top_n"}, {"query", "texts", "truncate"}, {"query", "texts", "truncate"},
    ]  # fmt: skip


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_server_that_fails_once_is_asked_again(code: int) -> None:
    with Server((code, b"")).running() as server:
        assert await remote(server.url).scores("a b", ["b a", "c"]) == [2, 0]
        assert len(server.requests) == 2


def slow() -> Reply:
    time.sleep(1)
    return 200, b"{}"


def answered(*results: Any) -> Reply:
    return 200, json.dumps({"results": results}).encode()


@pytest.mark.parametrize(
    ("replies", "asked"),
    [
        ([(500, b""), (500, b"private")], 2),
        ([(401, b"private")], 1),
        ([(302, b"")], 1),
        ([(422, b"private"), (422, b"private")], 2),
        ([(299, b'{"results": [{"index": 0')], 1),
        ([(200, b'{"results": [{"index": 0')], 1),
        ([(200, b"private")], 1),
        ([(200, b"\xff\xfe")], 1),
        ([(200, b"3")], 1),
        ([(200, b"{}")], 1),
        ([answered()], 1),
        ([answered({"index": 0, "relevance_score": 1})], 1),
        ([answered({"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 2})], 1),
        ([answered({"index": 0, "relevance_score": 1}, {"index": 2, "relevance_score": 2})], 1),
        ([answered({"index": 0, "relevance_score": 1}, {"index": 1})], 1),
        ([answered({"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": "much"})], 1),
        ([answered({"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": math.nan})], 1),
        ([answered({"index": "0", "relevance_score": 1}, {"index": 1, "relevance_score": 1})], 1),
        ([answered("private", "private")], 1),
        ([slow], 1),
    ],
)
async def test_a_server_that_does_wrong_is_a_model_that_is_not_available(
    replies: list[Reply | Callable[[], Reply]], asked: int
) -> None:
    with Server(*replies).running() as server:
        reranker = remote(server.url, seconds=0.5)
        with pytest.raises(ModelUnavailable) as caught:
            await reranker.scores("a private question", ["private", "texts"])
        await reranker.close()

    assert "private" not in str(caught.value)
    assert len(server.requests) == asked


async def test_no_server_is_a_model_that_is_not_available() -> None:
    with pytest.raises(ModelUnavailable, match="does not answer"):
        await remote("http://127.0.0.1:9/v1").scores("q", ["a", "b"])
