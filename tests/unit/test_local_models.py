# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embedding models in a folder, made here: their tokens have vectors of their own, and that is all they know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.embedding import build_local
from context_chat_backend.ports import Embedder

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "query", "passage", ":", "cat", "dog", "sofa", "sleeps")
DIMENSION = 5
TABLE: NDArray[np.float32] = np.random.default_rng(7).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_model(
    folder: Path, *, graph: str = "model.onnx", inputs: Sequence[str] = INPUTS, pooled: bool = False
) -> Path:
    """A folder with a tokenizer of words, and a graph that looks tokens up in TABLE."""
    (folder / graph).parent.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["hidden"])]
    # What is given must be used: zero times it is added.
    for given in inputs[1:]:
        nodes += [
            helper.make_node("Cast", [given], [f"{given}_float"], to=1),
            helper.make_node("Mul", [f"{given}_float", "zero"], [f"{given}_zero"]),
            helper.make_node("Unsqueeze", [f"{given}_zero", "axis"], [f"{given}_wide"]),
        ]
    names = ["hidden", *(f"{given}_wide" for given in inputs[1:])]
    summed = names[0]
    for number, name in enumerate(names[1:]):
        nodes.append(helper.make_node("Add", [summed, name], [f"sum{number}"]))
        summed = f"sum{number}"
    nodes.append(helper.make_node("Identity", [summed], ["last_hidden_state"]))
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "t", DIMENSION])]
    if pooled:  # the vector of the first token, doubled
        nodes += [
            helper.make_node("Gather", ["last_hidden_state", "first"], ["of_first"], axis=1),
            helper.make_node("Mul", ["of_first", "two"], ["sentence_embedding"]),
        ]
        outputs.append(helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["b", DIMENSION]))
    constants = {
        "table": TABLE, "zero": np.float32(0), "axis": np.array([2]), "first": np.array(0), "two": np.float32(2),
    }  # fmt: skip
    made = helper.make_graph(
        nodes,
        "lookup",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in inputs],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / graph).write_bytes(model.SerializeToString())
    write(folder / "config.json", {"hidden_size": DIMENSION, "max_position_embeddings": 64, "model_type": "bert"})
    return folder


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def embedder(folder: Path, model: str, **options: object) -> Embedder:
    return build_local("onnx", {"model": model} | options, models=folder, threads=1)


def expected(*words: str, pooling: str = "mean") -> NDArray[np.float32]:
    """The vector of a text with these tokens."""
    rows = TABLE[[WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]]
    pooled = {"mean": rows.mean(0), "cls": rows[0], "lasttoken": rows[-1], "max": rows.max(0)}[pooling]
    return np.asarray(pooled / np.linalg.norm(pooled), dtype=np.float32)


def same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(np.allclose(one, other, atol=1e-5))


POOLINGS: Mapping[str, Mapping[str, Any]] = {
    "mean": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "include_prompt": True},
    "cls": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    "lasttoken": {"pooling_mode_lasttoken": True},
    "max": {"pooling_mode": "max"},
}


@pytest.mark.parametrize("pooling", POOLINGS)
async def test_tokens_are_pooled_as_the_folder_says_whatever_else_is_in_the_batch(tmp_path: Path, pooling: str) -> None:
    write(write_model(tmp_path / "m") / "1_Pooling" / "config.json", POOLINGS[pooling])
    made = embedder(tmp_path, "m")
    vectors = await made.embed_passages(["cat sleeps", "dog", "cat dog sofa sleeps cat"])
    await made.close()

    assert made.space.dimension == DIMENSION
    assert same(vectors[0], expected("cat", "sleeps", pooling=pooling))
    assert same(vectors[1], expected("dog", pooling=pooling))
    assert same(vectors[2], expected("cat", "dog", "sofa", "sleeps", "cat", pooling=pooling))


async def test_pooling_can_be_set_and_is_part_of_the_space(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    mean, cls = embedder(tmp_path, "m"), embedder(tmp_path, "m", pooling="cls")

    assert same(await cls.embed_question("dog"), expected("dog", pooling="cls"))
    assert mean.space != cls.space
    await mean.close()
    await cls.close()


async def test_prefixes_stand_before_questions_and_passages_and_in_the_space(tmp_path: Path) -> None:
    write_model(tmp_path / "multilingual-e5-small")
    made = embedder(tmp_path, "multilingual-e5-small")

    assert same(await made.embed_question("cat"), expected("query", ":", "cat"))
    assert same((await made.embed_passages(["dog"]))[0], expected("passage", ":", "dog"))
    assert (made.space.question_prefix, made.space.passage_prefix) == ("query: ", "passage: ")
    assert made.space.languages == ()
    await made.close()


async def test_the_configuration_overrides_prefixes_even_with_nothing(tmp_path: Path) -> None:
    write_model(tmp_path / "e5-small")
    made = embedder(tmp_path, "e5-small", question_prefix="", passage_prefix="sofa ")

    assert same(await made.embed_question("cat"), expected("cat"))
    assert same((await made.embed_passages(["dog"]))[0], expected("sofa", "dog"))
    await made.close()


async def test_one_of_several_files_can_be_named_and_tells_the_family(tmp_path: Path) -> None:
    write_model(tmp_path / "mine", graph="onnx/multilingual-e5-small-int8.onnx")
    made = embedder(tmp_path, "mine/onnx/multilingual-e5-small-int8.onnx")

    assert made.space.model.startswith("mine/multilingual-e5-small-int8@")
    assert same(await made.embed_question("cat"), expected("query", ":", "cat"))
    await made.close()


async def test_the_layout_and_the_cache_of_hugging_face_are_understood(tmp_path: Path) -> None:
    folder = "models--intfloat--e5-base-v2/snapshots/0123abcd"
    write_model(tmp_path / folder, graph="onnx/model.onnx")
    made = embedder(tmp_path, folder)

    assert made.space.model.startswith("intfloat/e5-base-v2@")
    assert made.space.question_prefix == "query: "
    await made.close()


async def test_a_graph_that_pools_itself_is_left_to_it(tmp_path: Path) -> None:
    write_model(tmp_path / "m", pooled=True)
    made = embedder(tmp_path, "m")

    assert same(await made.embed_question("dog sofa"), expected(pooling="cls"))
    await made.close()


async def test_models_with_fewer_or_more_inputs_get_what_they_want(tmp_path: Path) -> None:
    for inputs in (("input_ids",), (*INPUTS, "position_ids")):
        write_model(tmp_path / str(len(inputs)), inputs=inputs)
        made = embedder(tmp_path, str(len(inputs)))
        assert same(await made.embed_question("dog"), expected("dog"))
        await made.close()


async def test_an_input_that_is_not_known_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "m", inputs=("input_ids", "task_id"))
    made = embedder(tmp_path, "m")

    with pytest.raises(ModelUnavailable, match="task_id"):
        await made.embed_question("dog")
    await made.close()


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({}, 62),
        ({"sentence_bert_config.json": {"max_seq_length": 12}}, 10),
        ({"tokenizer_config.json": {"model_max_length": 20}}, 18),
        ({"sentence_bert_config.json": {"max_seq_length": 20}, "tokenizer_config.json": {"model_max_length": 30}}, 18),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 62),
        ({"config.json": {"hidden_size": DIMENSION, "max_position_embeddings": 34, "model_type": "xlm-roberta"}}, 30),
    ],
)
async def test_a_text_is_cut_where_the_models_files_say(
    tmp_path: Path, files: Mapping[str, object], tokens: int
) -> None:
    write_model(tmp_path / "m")
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_text(encoding="utf-8"))
    write(tmp_path / "m" / "tokenizer.json", tokenizer | {"truncation": None})
    for name, content in files.items():
        write(tmp_path / "m" / name, content)
    made = embedder(tmp_path, "m")

    assert made.max_tokens == tokens
    assert same(await made.embed_question("cat " * 100), expected(*["cat"] * tokens))
    await made.close()


async def test_the_cut_of_the_tokenizer_counts_where_nothing_better_is_said(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    made = embedder(tmp_path, "m")
    longer = embedder(tmp_path, "m", max_tokens=20)

    assert (made.max_tokens, longer.max_tokens) == (14, 18)
    await made.close()
    await longer.close()


async def test_the_passage_prefix_takes_room_from_the_passage(tmp_path: Path) -> None:
    write_model(tmp_path / "e5-small")
    made = embedder(tmp_path, "e5-small", max_tokens=16)

    assert made.max_tokens == 16 - len(("[CLS]", "passage", ":", "[SEP]"))
    assert list(made.token_starts("cat  dog:sofa")) == [0, 5, 8, 9]
    await made.close()


async def test_another_model_in_the_same_folder_is_another_space(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    before = embedder(tmp_path, "m")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\n")
    after = embedder(tmp_path, "m")

    assert before.space.model != after.space.model
    await before.close()
    await after.close()


async def test_the_space_is_plain_where_nothing_is_known_of_a_model(tmp_path: Path) -> None:
    write_model(tmp_path / "my-own")
    made = embedder(tmp_path, "my-own")

    assert made.space == EmbeddingSpace(made.space.model, DIMENSION)
    assert made.space.model.startswith("my-own@")
    await made.close()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("model.onnx", "model.onnx is not there; name a folder"),
        ("tokenizer.json", "tokenizer.json is not there; name a folder"),
        ("config.json", "does not say how long the vectors are"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, missing: str, said: str) -> None:
    (write_model(tmp_path / "m") / missing).unlink()

    with pytest.raises(ConfigurationError, match=f"embedding.onnx.model: .*{said}"):
        embedder(tmp_path, "m")


def test_a_pooling_that_is_not_known_is_refused(tmp_path: Path) -> None:
    write(write_model(tmp_path / "m") / "1_Pooling" / "config.json", {"pooling_mode_weightedmean_tokens": True})

    with pytest.raises(ConfigurationError, match=r"embedding.onnx.pooling: expected one of mean, cls.*weightedmean"):
        embedder(tmp_path, "m")


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (write_model(tmp_path / "m") / "config.json").write_text("{", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"config.json cannot be read as JSON"):
        embedder(tmp_path, "m")


async def test_vectors_of_another_length_than_the_files_say_are_refused(tmp_path: Path) -> None:
    write(write_model(tmp_path / "m") / "config.json", {"hidden_size": DIMENSION + 1})
    made = embedder(tmp_path, "m")

    with pytest.raises(ModelUnavailable, match=f"no vectors of {DIMENSION + 1} dimensions"):
        await made.embed_question("cat")
    await made.close()


@pytest.mark.parametrize("broken", ["model.onnx", "tokenizer.json"])
async def test_a_damaged_file_is_an_unavailable_model_and_stays(tmp_path: Path, broken: str) -> None:
    file = write_model(tmp_path / "m") / broken
    made = embedder(tmp_path, "m")
    file.write_bytes(b"half a file")

    with pytest.raises(ModelUnavailable, match="cannot be"):
        await made.embed_question("cat")
    assert file.read_bytes() == b"half a file"
    await made.close()


async def test_a_text_without_tokens_lies_somewhere(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_text(encoding="utf-8"))
    write(tmp_path / "m" / "tokenizer.json", tokenizer | {"post_processor": None})
    made = embedder(tmp_path, "m")
    vectors = await made.embed_passages(["", "cat"])

    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    await made.close()
