# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model of Hugging Face's transformers. Options have the names of LangChain's HuggingFacePipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.domain import Ended, Finish, Sampling, Usage
from context_chat_backend.errors import ConfigurationError, PromptTooLong
from context_chat_backend.inference.language.engine import Order

CONTEXT_TOKENS = 4096
"""Where neither `n_ctx` nor the model says it."""
ANSWER_TOKENS = 1024
_TASK = "text-generation"
_UNKNOWN_LENGTH = 10**6
"""Tokenizers that know no limit name a number that is larger than this."""
_OF_LENGTH = ("max_new_tokens", "max_length", "config")
_OF_A_PIPELINE = ("return_full_text", "batch_size", "clean_up_tokenization_spaces")


class HuggingFaceEngine:
    """Runs one model that writes text from left to right."""

    def __init__(self, model: str, options: Mapping[str, Any], *, threads: int, download: bool) -> None:
        """`model` is a folder or a name; with `download` it may be fetched. `device` -1 is the CPU, others are GPUs.

        Raises ConfigurationError, and what the library raises.
        """
        # Two libraries that take seconds to import: only this process pays for them.
        import torch
        import transformers

        if options.get("task", _TASK) != _TASK:
            raise ConfigurationError(f"llm.hugging_face.task: expected '{_TASK}'")
        torch.set_num_threads(threads)
        self._torch, self._library = torch, transformers
        loading = dict(options.get("model_kwargs", {}))
        if "device_map" in options:
            loading["device_map"] = options["device_map"]
        known_here = {"local_files_only": Path(model).is_dir() or not download}
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model, **known_here)
        self._model = transformers.AutoModelForCausalLM.from_pretrained(model, **known_here, **loading)
        if "device_map" not in options:
            default = 0 if torch.cuda.is_available() else -1
            device = options.get("device", default)
            self._model.to("cpu" if device < 0 else f"cuda:{device}")
        self._model.eval()
        self.device = str(self._model.device.type)
        told = getattr(self._model.config, "max_position_embeddings", None) or self._tokenizer.model_max_length
        self.context_tokens = int(options.get("n_ctx", told if told < _UNKNOWN_LENGTH else CONTEXT_TOKENS))
        self._answer_tokens = options.get("max_tokens", ANSWER_TOKENS)
        pipeline = options.get("pipeline_kwargs", {})
        nested = pipeline.get("config") if isinstance(pipeline.get("config"), dict) else {}
        given = {**nested, **pipeline}
        self._sampling = {k: v for k, v in given.items() if k not in (*_OF_LENGTH, *_OF_A_PIPELINE)}
        self._sampling.setdefault("do_sample", float(self._sampling.get("temperature", 0)) > 0)

    def count(self, text: str) -> int:
        """See Engine."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def write(self, order: Order, left: threading.Event) -> Iterator[str | Ended]:
        """See Engine."""
        asked = self._tokens(order)
        count = int(asked["input_ids"].shape[1])
        wanted = order.sampling
        most = self._answer_tokens if wanted.max_tokens is None else min(wanted.max_tokens, self._answer_tokens)
        room = min(most, self.context_tokens - count)
        if room < 1:
            raise PromptTooLong("the question is too long for the language model: shorten it")
        streamer = self._library.TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        result: dict[str, Any] = {}
        sampling = self._sampled(wanted)
        if wanted.seed is not None:
            self._torch.manual_seed(wanted.seed)

        def run() -> None:
            try:
                result["tokens"] = self._model.generate(
                    **asked,
                    **sampling,
                    max_new_tokens=room,
                    streamer=streamer,
                    stopping_criteria=[lambda ids, *_, **__: self._torch.full((len(ids),), left.is_set())],
                    pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
                )
            except Exception as error:  # told below, on the thread that waits
                result["error"] = error
                streamer.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield from (piece for piece in streamer if piece)
        thread.join()
        if "error" in result:
            raise result["error"]
        written = int(result["tokens"].shape[1]) - count
        yield Ended(Finish.LENGTH if written >= room else Finish.STOP, Usage(count, max(1, written)))

    def _sampled(self, wanted: Sampling) -> dict[str, Any]:
        """How tokens are chosen: at temperature 0 always the likeliest."""
        sampling = dict(self._sampling)
        if wanted.temperature is not None:
            sampling["do_sample"] = wanted.temperature > 0
            sampling["temperature"] = wanted.temperature or None
        if wanted.top_p is not None:
            sampling["top_p"] = wanted.top_p
        return sampling

    def _tokens(self, order: Order) -> Any:
        if order.filled or not self._tokenizer.chat_template:
            text = "\n\n".join(message["content"] for message in order.messages)
            tokens = self._tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        else:
            messages = [dict(message) for message in order.messages]
            tokens = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        return tokens.to(self._model.device)
