# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model in GGUF, run by llama.cpp. Options have the names of LangChain's LlamaCpp."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.domain import Ended, Finish, Usage
from context_chat_backend.errors import ConfigurationError, PromptTooLong
from context_chat_backend.inference.language.engine import Order, Utf8Pieces

CONTEXT_TOKENS = 4096
"""Where `n_ctx` does not say it; less where the model was trained with less."""
ANSWER_TOKENS = 1024
_LOADED_WITH = ("n_batch", "n_gpu_layers", "seed", "use_mlock", "use_mmap", "rope_freq_base", "rope_freq_scale")
_RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp takes another one each time."""


class LlamaEngine:
    """Runs one GGUF file."""

    def __init__(self, file: Path, options: Mapping[str, Any], *, threads: int) -> None:
        """`file` is loaded; of `options` n_ctx, max_tokens, n_threads, sampling and those of loading count.

        Raises ConfigurationError when the file is missing, ValueError when it cannot be loaded.
        """
        # A compiled library of 20 MB: only this process pays for it.
        import llama_cpp
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        if not file.is_file():
            raise ConfigurationError(f"llm.llama.model_path: {file} is not there; name a GGUF file")
        self._library = llama_cpp
        layers = options.get("n_gpu_layers", -1)
        self.device = "gpu" if layers and llama_cpp.llama_supports_gpu_offload() else "cpu"
        self._model = llama_cpp.Llama(
            model_path=str(file),
            n_ctx=options.get("n_ctx", CONTEXT_TOKENS),
            n_threads=options.get("n_threads", threads),
            n_threads_batch=options.get("n_threads", threads),
            lora_path=options.get("lora_path"),
            verbose=False,
            **{"n_gpu_layers": -1} | {name: options[name] for name in _LOADED_WITH if name in options},
        )
        trained = self._model._model.n_ctx_train()
        self.context_tokens = self._model.n_ctx() if "n_ctx" in options else min(self._model.n_ctx(), trained)
        self._answer_tokens = options.get("max_tokens", ANSWER_TOKENS)
        self._sampling = {
            "temp": options.get("temperature", 0.1),
            "top_p": options.get("top_p", 0.95),
            "top_k": options.get("top_k", 40),
            "repeat_penalty": options.get("repeat_penalty", 1.1),
        }
        self._seed = options.get("seed", _RANDOM_SEED)
        template = self._model.metadata.get("tokenizer.chat_template")
        bos, eos = (self._name(token) for token in (self._model.token_bos(), self._model.token_eos()))
        self._formatter = Jinja2ChatFormatter(template, eos_token=eos, bos_token=bos) if template else None

    def count(self, text: str) -> int:
        """See Engine."""
        return len(self._model.tokenize(text.encode(), add_bos=False))

    def write(self, order: Order, left: threading.Event) -> Iterator[str | Ended]:
        """See Engine."""
        asked = self._tokens(order)
        wanted = order.sampling
        most = self._answer_tokens if wanted.max_tokens is None else min(wanted.max_tokens, self._answer_tokens)
        room = min(most, self.context_tokens - len(asked))
        if room < 1:
            raise PromptTooLong("the question is too long for the language model: shorten it")
        given = {"temp": wanted.temperature, "top_p": wanted.top_p}
        sampling = self._sampling | {name: value for name, value in given.items() if value is not None}
        self._model.set_seed((self._seed if wanted.seed is None else wanted.seed) & _RANDOM_SEED)
        written, finish, pieces = 0, Finish.LENGTH, Utf8Pieces()
        for token in self._model.generate(asked, **sampling):
            if left.is_set() or self._library.llama_vocab_is_eog(self._model._model.vocab, token):
                finish = Finish.STOP
                break
            written += 1
            if piece := pieces.add(self._model.detokenize([token], prev_tokens=asked)):
                yield piece
            if written == room:
                break
        if piece := pieces.add(b"", last=True):
            yield piece
        yield Ended(finish, Usage(len(asked), written))

    def _tokens(self, order: Order) -> list[int]:
        """The prompt as the model reads it. Marks of speakers in a filled template count as such."""
        if order.filled:
            text, has_bos = order.messages[0]["content"], False
        elif self._formatter is None:
            text, has_bos = "\n\n".join(message["content"] for message in order.messages) + "\n\n", False
        else:
            text, has_bos = self._formatted(order.messages), True
        tokens: list[int] = self._model.tokenize(text.encode(), add_bos=not has_bos, special=True)
        return tokens

    def _formatted(self, messages: Any) -> str:
        assert self._formatter is not None
        try:
            return str(self._formatter(messages=list(messages)).prompt)
        except Exception:  # templates raise what they like, mostly because they know no system message
            text = "\n\n".join(message["content"] for message in messages)
            return str(self._formatter(messages=[{"role": "user", "content": text}]).prompt)

    def _name(self, token: int) -> str:
        return self._model._model.token_get_text(token) if token >= 0 else ""
