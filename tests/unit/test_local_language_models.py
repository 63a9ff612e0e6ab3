# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models that run here, in a process of their own, with tiny random weights: llama.cpp and transformers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend.domain import Ended, Finish, Message, Prompt, Sampling
from context_chat_backend.errors import ModelUnavailable, PromptTooLong
from context_chat_backend.inference.language import build_language_model, separate
from context_chat_backend.inference.language.separate import SeparateLanguageModel
from context_chat_backend.ports import LanguageModel
from tests.gguf import write_llama
from tests.language_contract import QUESTION, TEXTS, LanguageModelContract, prompted, written

needs_llama = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="the extra 'llama' is not installed")
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("torch") is None, reason="the extra 'transformers' is not installed"
)
ASKED = prompted(QUESTION, *TEXTS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model files")
    write_llama(folder / "tiny.gguf")
    write_llama(folder / "endless.gguf", ends=False)
    return folder


def llama(models: Path, **options: Any) -> SeparateLanguageModel:
    given = {"model_path": "tiny.gguf", "temperature": 0.0, "max_tokens": 30, **options}
    model = build_language_model("llama", given, models=models, threads=1)
    assert isinstance(model, SeparateLanguageModel)
    return model


@needs_llama
class TestLlama(LanguageModelContract):
    @pytest.fixture
    async def model(self, models: Path) -> AsyncIterator[LanguageModel]:
        model = llama(models)
        yield model
        await model.close()


@pytest.fixture
async def running(models: Path) -> AsyncIterator[SeparateLanguageModel]:
    model = llama(models, n_gpu_layers=0)
    yield model
    await model.close()


def process_of(model: SeparateLanguageModel) -> int:
    assert model._running is not None
    return model._running.pid


@needs_llama
async def test_tokens_are_those_of_the_file(running: SeparateLanguageModel) -> None:
    assert await running.context_tokens() == 2048
    assert running.device == "cpu"
    assert await running.count_tokens(["roof", "年度", "欢"]) == [5, 7, 4]  # bytes, after a blank


@needs_llama
async def test_a_model_that_runs_out_of_room_says_so(models: Path) -> None:
    model = llama(models, model_path="endless.gguf", max_tokens=2)
    text, ended = await written(model, ASKED)
    await model.close()

    assert text
    assert ended.finish is Finish.LENGTH
    assert ended.usage is not None
    assert ended.usage.answer_tokens == 2


@needs_llama
async def test_an_answer_is_sampled_as_its_asker_wants(models: Path) -> None:
    model = llama(models, model_path="endless.gguf")

    async def wrote(**wanted: Any) -> tuple[str, Ended]:
        return await written(model, replace(ASKED, sampling=Sampling(max_tokens=12, **wanted)))

    first, ended = await wrote(temperature=2.0, seed=1)
    other, _ = await wrote(temperature=2.0, seed=2)
    again, _ = await wrote(temperature=2.0, seed=1)
    greedy, _ = await wrote()
    greedy_again, _ = await wrote(temperature=0.0)
    await model.close()

    assert ended.usage is not None
    assert (ended.finish, ended.usage.answer_tokens) == (Finish.LENGTH, 12)
    assert first == again != other
    assert greedy == greedy_again != first


@needs_llama
async def test_a_prompt_that_fills_the_context_is_refused(models: Path) -> None:
    model = llama(models, n_ctx=64)
    with pytest.raises(PromptTooLong):
        await written(model, prompted("Why? " * 500))
    await model.close()


@needs_llama
async def test_a_filled_template_is_read_as_it_stands(running: SeparateLanguageModel) -> None:
    messages = (Message("user", "the roof"),)
    _, filled = await written(running, Prompt(messages, "", (), filled=True))
    _, turn = await written(running, Prompt(messages, "", ()))

    assert filled.usage is not None
    assert turn.usage is not None
    assert filled.usage.prompt_tokens == (await running.count_tokens(["the roof"]))[0] + 1  # the mark of the beginning
    assert turn.usage.prompt_tokens > filled.usage.prompt_tokens


@needs_llama
async def test_who_leaves_does_not_keep_others_waiting(models: Path) -> None:
    model = llama(models, model_path="endless.gguf", max_tokens=1900)
    async with aclosing(model.stream(ASKED)) as left:
        assert isinstance(await anext(left), str)
    async with aclosing(model.stream(ASKED)) as next_one:
        assert isinstance(await asyncio.wait_for(anext(next_one), 60), str)
    await model.close()


@needs_llama
async def test_after_its_process_was_killed_the_next_question_is_answered(models: Path) -> None:
    model = llama(models, model_path="endless.gguf", max_tokens=1900)
    stream = model.stream(ASKED)
    await anext(stream)
    first = process_of(model)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(ModelUnavailable, match="killed"):
        [piece async for piece in stream]

    async with aclosing(model.stream(ASKED)) as again:
        assert isinstance(await anext(again), str)
    assert process_of(model) != first
    await model.close()


@needs_llama
async def test_a_process_that_hangs_is_ended(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama(models, model_path="endless.gguf", max_tokens=1900)
    async with aclosing(model.stream(ASKED)) as stream:
        await anext(stream)
        os.kill(process_of(model), signal.SIGSTOP)
        monkeypatch.setattr(separate, "_SILENT_SECONDS", 0.3)
        with pytest.raises(ModelUnavailable, match="silent"):
            [piece async for piece in stream]
    await model.close()


@needs_llama
@pytest.mark.parametrize(("content", "said"), [(None, "is not there"), (b"GGUF rubbish" * 100, "language model")])
async def test_a_file_that_is_none_is_a_model_that_is_not_available(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "tiny.gguf").write_bytes(content)
    model = llama(tmp_path)
    with pytest.raises(ModelUnavailable, match=said):
        await model.context_tokens()
    await model.close()


@needs_llama
async def test_two_programs_share_one_process_and_one_that_leaves_does_not_disturb_the_other(models: Path) -> None:
    staying = llama(models, model_path="endless.gguf", max_tokens=1900)
    leaving = llama(models, model_path="endless.gguf", max_tokens=1900)
    left = leaving.stream(ASKED)
    assert isinstance(await anext(left), str)
    await staying.open()
    process = process_of(staying)
    assert process_of(leaving) == process
    await leaving.close()

    async with aclosing(staying.stream(ASKED)) as answer:
        assert isinstance(await asyncio.wait_for(anext(answer), 60), str)
    assert process_of(staying) == process
    with pytest.raises(ModelUnavailable):
        [piece async for piece in left]
    await staying.close()


@needs_llama
async def test_closing_ends_the_process(models: Path) -> None:
    model = llama(models)
    await model.open()
    process = process_of(model)
    await model.close()

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def write_transformer(folder: Path) -> None:
    """A model of llama's kind with random weights, whose tokens are bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


@needs_transformers
class TestHuggingFace(LanguageModelContract):
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("transformer")
        write_transformer(folder)
        return folder

    @pytest.fixture
    async def model(self, folder: Path) -> AsyncIterator[LanguageModel]:
        options = {"model_id": str(folder), "max_tokens": 20, "pipeline_kwargs": {"max_new_tokens": 20}}
        model = build_language_model("hugging_face", options, models=folder.parent, threads=1)
        yield model
        await model.close()
