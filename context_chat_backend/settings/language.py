# SPDX-License-Identifier: AGPL-3.0-or-later
"""The options of language models in `config.yaml`, under the names LangChain has for them, as old files hold them.

What an old file says keeps its meaning: `template`, `no_ctx_template` and `end_separator` of any model, `n_ctx` and
`max_tokens`, and the nested places where CTransformers and Hugging Face's pipelines keep the latter two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import unknown

Check = Callable[[Any], bool]
Options = dict[str, Any]


def _whole(least: int) -> Check:
    return lambda value: type(value) is int and value >= least


def _number(least: float) -> Check:
    return lambda value: type(value) in (int, float) and value >= least


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _is_duration(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and re.fullmatch(r"-?\d+(ms|s|m|h)", value) is not None)


_COUNT, _ANY_COUNT, _POSITIVE, _NUMBER = _whole(1), _whole(-1), _number(0), _number(-2)
_EXPECTED: Mapping[Check, str] = {
    _COUNT: "a whole number of at least 1",
    _ANY_COUNT: "a whole number of at least -1",
    _POSITIVE: "a number of at least 0",
    _NUMBER: "a number of at least -2",
    _is_duration: "seconds, or a text such as '10m'",
    _is_text: "a text (in quotes where it looks like a number)",
    _is_switch: "true or false",
    _is_section: "options below it, one 'key: value' a line",
    _is_texts: "a list of texts",
}
PROMPTS: Mapping[str, Check] = {"template": _is_text, "no_ctx_template": _is_text, "end_separator": _is_text}
"""Options of every model: its prompts in the administrator's words."""
OLLAMA_OPTIONS: Mapping[str, Check] = {
    "temperature": _POSITIVE, "top_p": _POSITIVE, "top_k": _ANY_COUNT, "min_p": _POSITIVE, "typical_p": _POSITIVE,
    "repeat_penalty": _POSITIVE, "repeat_last_n": _ANY_COUNT, "presence_penalty": _NUMBER, "frequency_penalty": _NUMBER,
    "mirostat": _ANY_COUNT, "mirostat_eta": _POSITIVE, "mirostat_tau": _POSITIVE, "seed": _ANY_COUNT,
    "num_keep": _ANY_COUNT, "num_gpu": _ANY_COUNT, "num_thread": _COUNT, "num_batch": _COUNT, "stop": _is_texts,
}  # fmt: skip
"""What Ollama takes in `options`, beside the sizes of prompt and answer."""
LANGUAGE_MODELS: Mapping[str, Mapping[str, Check]] = {
    "nc_texttotext": {"context_tokens": _COUNT, "max_tokens": _COUNT, **PROMPTS},
    "extractive": {},
    "openai": {
        "base_url": _is_text, "model": _is_text, "api_key": _is_text, "context_tokens": _COUNT, "max_tokens": _COUNT,
        "temperature": _POSITIVE, "first_timeout": _COUNT, "timeout": _COUNT, **PROMPTS,
    },
    "ollama": {
        "base_url": _is_text, "model": _is_text, "api_key": _is_text, "num_ctx": _COUNT, "num_predict": _COUNT,
        "keep_alive": _is_duration, "think": _is_switch, "first_timeout": _COUNT, "timeout": _COUNT,
        **OLLAMA_OPTIONS, **PROMPTS,
    },
    "llama": {
        "model_path": _is_text, "n_ctx": _COUNT, "max_tokens": _COUNT, "n_batch": _COUNT, "n_threads": _COUNT,
        "n_gpu_layers": _ANY_COUNT, "temperature": _POSITIVE, "top_p": _POSITIVE, "top_k": _ANY_COUNT,
        "repeat_penalty": _POSITIVE, "seed": _ANY_COUNT, "stop": _is_texts, "use_mlock": _is_switch,
        "use_mmap": _is_switch, "rope_freq_base": _POSITIVE, "rope_freq_scale": _POSITIVE, "lora_path": _is_text,
        **PROMPTS,
    },
    "hugging_face": {
        "model_id": _is_text, "model_path": _is_text, "task": _is_text, "n_ctx": _COUNT, "max_tokens": _COUNT,
        "device": _ANY_COUNT, "device_map": _is_text, "model_kwargs": _is_section, "pipeline_kwargs": _is_section,
        **PROMPTS,
    },
}  # fmt: skip
"""The models of `llm` (the first is the default), and what each of their options has to be."""
NEEDS = {"llama": ("llama_cpp", "llama"), "hugging_face": ("transformers", "transformers")}
"""The library of a model that not every installation has, and the extra that brings it."""
_OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "model_name": "model", "openai_api_key": "api_key", "openai_api_base": "base_url", "request_timeout": "timeout",
        "n_ctx": "context_tokens",
    },
    "ollama": {"max_tokens": "num_predict", "context_tokens": "num_ctx", "n_ctx": "num_ctx"},
    "llama": {"model": "model_path"},
    "hugging_face": {"model": "model_id", "model_name": "model_id"},
}  # fmt: skip
_WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "openai": ("model_kwargs", "max_retries", "streaming", "top_p", "seed", "frequency_penalty", "presence_penalty"),
    "ollama": ("stream", "streaming", "verbose", "embed_model"),
    "llama": (
        "verbose", "streaming", "echo", "suffix", "logprobs", "logits_all", "vocab_only", "f16_kv", "n_parts",
        "last_n_tokens_size", "lora_base", "model_kwargs", "grammar", "grammar_path",
    ),
    "hugging_face": ("batch_size", "backend", "verbose", "cache"),
}  # fmt: skip
"""Options of LangChain's classes that change nothing here, and warn."""
_OF_CTRANSFORMERS = {
    "context_length": "n_ctx", "max_new_tokens": "max_tokens", "gpu_layers": "n_gpu_layers", "threads": "n_threads",
    "batch_size": "n_batch", "repetition_penalty": "repeat_penalty", "temperature": "temperature", "top_p": "top_p",
    "top_k": "top_k", "seed": "seed", "stop": "stop", "mlock": "use_mlock", "mmap": "use_mmap",
}  # fmt: skip
_PLACE = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


def named_now(name: str, warn: Callable[[str], None]) -> str:
    """The name a model has here; old ones are noted."""
    if name != "ctransformer":
        return name
    warn("llm.ctransformer is read as llm.llama: the library behind it is not maintained; its file has to be GGUF")
    return "llama"


def read_options(path: str, name: str, given: Mapping[str, Any], warn: Callable[[str], None]) -> Options:
    """The options of model `name` at `path` of the file, under the names they have here.

    Raises ConfigurationError with the key and the cure; it does not quote values, which may be passwords.
    """
    if path.endswith(".ctransformer"):
        given = _from_ctransformers(given)
    checks = LANGUAGE_MODELS[name]
    options: Options = {}
    for key, value in given.items():
        known = _OTHER_NAMES.get(name, {}).get(str(key), str(key))
        if known in _WITHOUT_EFFECT.get(name, ()):
            warn(f"{path}.{known} has no effect here")
        elif known not in checks:
            raise ConfigurationError(unknown(f"{path}.{key}", known, checks))
        elif value is not None and value != "":
            if not checks[known](value):
                raise ConfigurationError(f"{path}.{key}: expected {_EXPECTED[checks[known]]}")
            options[known] = value
    for key in ("template", "no_ctx_template"):
        if key in options:
            _check_template(f"{path}.{key}", options[key], ("context", "question")[key == "no_ctx_template" :])
    if name == "hugging_face":
        _unnest(options)
    return options


def _from_ctransformers(given: Mapping[str, Any]) -> Options:
    config = given.get("config")
    nested = config if isinstance(config, dict) else {}
    named = {_OF_CTRANSFORMERS[key]: value for key, value in nested.items() if key in _OF_CTRANSFORMERS}
    dropped = ("config", "model_type", "model_file", "lib", "streaming", "verbose")
    return named | {key: value for key, value in given.items() if key not in dropped}


def _unnest(options: Options) -> None:
    """Lengths of a pipeline stand in three places; the reference looked at them in this order."""
    pipeline = options.get("pipeline_kwargs", {})
    nested = pipeline.get("config", {}) if isinstance(pipeline.get("config"), dict) else {}
    for option, places in {
        "n_ctx": (nested.get("max_length"),),
        "max_tokens": (nested.get("max_new_tokens"), pipeline.get("max_new_tokens"), pipeline.get("max_length")),
    }.items():
        told = next((value for value in places if type(value) is int and value > 0), None)
        if told is not None:
            options.setdefault(option, told)


def _check_template(path: str, template: str, names: tuple[str, ...]) -> None:
    places = {found for found in _PLACE.findall(template) if found not in ("{{", "}}")}
    wanted = {f"{{{name}}}" for name in names}
    if places != wanted:
        raise ConfigurationError(
            f"{path}: it has to hold {' and '.join(sorted(wanted))} and no other name in braces; "
            "a brace that is meant is written twice"
        )
