# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models `config.yaml` may name, their options, and the choice that is made of them.

A model of the reference that we do not have, and one whose library is not installed, is passed over with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings import language
from context_chat_backend.settings.checks import Layers, section, typed, unknown

Warn = Callable[[str], None]
MODELS: Mapping[str, Mapping[str, Mapping[str, type]]] = {
    "vectordb": {"pgvector": {"connection": str}},
    "embedding": {
        "onnx": {
            "quantised": bool, "model": str, "question_prefix": str, "passage_prefix": str, "pooling": str,
            "max_tokens": int,
        },
        "hashing": {"dimension": int},
        "openai": {
            "base_url": str, "model_name": str, "api_key": str, "username": str, "password": str, "batch_size": int,
            "request_timeout": int, "dimension": int, "max_tokens": int, "question_prefix": str, "passage_prefix": str,
        },
        "ollama": {
            "base_url": str, "model": str, "api_key": str, "num_ctx": int, "keep_alive": str, "batch_size": int,
            "timeout": int, "dimension": int, "question_prefix": str, "passage_prefix": str,
        },
        "llama": {
            "model": str, "n_ctx": int, "n_batch": int, "n_threads": int, "n_gpu_layers": Layers, "use_mlock": bool,
            "question_prefix": str, "passage_prefix": str,
        },
        "sentence_transformers": {"model": str, "device": str, "question_prefix": str, "passage_prefix": str},
    },
    "reranker": {
        "none": {},
        "onnx": {"model": str},
        "cross_encoder": {"model": str},
        "remote": {"base_url": str, "model": str, "api_key": str, "request_timeout": int},
        "ollama": {
            "base_url": str, "model": str, "api_key": str, "num_ctx": int, "keep_alive": str, "batch_size": int,
            "temperature": float, "request_timeout": int,
        },
    },
}  # fmt: skip
"""What each section may name (the first is the default), with its options and their types; for `llm` see
settings/language.py."""
NEEDS = {"llama": ("llama_cpp", "llama"), "sentence_transformers": ("sentence_transformers", "transformers")}
"""Models that are there only when a package is installed, with the package and our extra that brings it."""
MODELS_OF_THE_REFERENCE = {
    "vectordb": ("chroma", "weaviate"),
    "embedding": ("hugging_face", "instructor"),
}
BESIDE_EMBEDDING = (
    "base_url", "protocol", "host", "port", "workers", "request_timeout", "batch_size", "remote_service", "model_name",
    "model", "auth", "offload_after_mins",
)  # fmt: skip
"""Options of the reference that stand beside the model in `embedding`: they speak of a server."""
OF_A_REMOTE_SERVER = ("base_url", "model_name", "model", "auth", "batch_size", "request_timeout")
"""Those of them that mean something here, where the server is a remote one."""
LANGCHAIN_NAMES: Mapping[str, Mapping[str, str]] = {
    "embedding.openai": {
        "model": "model_name", "apikey": "api_key", "openai_api_key": "api_key", "openai_api_base": "base_url",
        "chunk_size": "batch_size", "dimensions": "dimension",
    },
    "embedding.llama": {"model_path": "model"},
    "embedding.sentence_transformers": {"model_name": "model"},
}  # fmt: skip
"""Other names of options of a model."""
LANGCHAIN_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "embedding.openai": ("remote_service", "workers", "max_retries", "model_kwargs"),
    "embedding.llama": (
        "n_parts", "seed", "f16_kv", "logits_all", "vocab_only", "verbose", "device", "model_alias", "embedding",
        "model_kwargs",
    ),
}  # fmt: skip
"""Options of LangChain or of the reference that have no effect here."""
_SECRET = re.compile(r"key|secret|token$|password|auth", re.IGNORECASE)
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True)
class ModelChoice:
    """A model by the name of its back-end, with its options. They may hold keys of servers and are not printed."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def without_secrets(self) -> ModelChoice:
        """The same model as it may be written down: without keys, and without names and passwords in addresses."""
        options = {key: value for key, value in self.options.items() if not _SECRET.search(key)}
        return ModelChoice(
            self.name, {k: _CREDENTIALS.sub("//", v) if isinstance(v, str) else v for k, v in options.items()}
        )

    @property
    def secrets(self) -> frozenset[str]:
        """What is left out of it before it is written down."""
        values = [value for key, value in self.options.items() if _SECRET.search(key)]
        texts = [value for value in self.options.values() if isinstance(value, str)]
        found = {value for value in values if isinstance(value, str)}
        return frozenset(
            found | {login[2:-1].partition(":")[2] for text in texts for login in _CREDENTIALS.findall(text)}
        )

    def with_secrets_of(self, other: ModelChoice) -> ModelChoice:
        """The same model with the secrets of another one of the same server, so that no other server learns them."""
        mine, theirs = self.without_secrets().options, other.without_secrets().options
        if self.name != other.name or mine.get("base_url") != theirs.get("base_url"):
            return self
        secrets = {key: value for key, value in other.options.items() if theirs.get(key) != value}
        return ModelChoice(self.name, {**self.options, **secrets})


def models_of(section: str) -> Iterable[str]:
    """The names of the models a section may hold; the first is the default."""
    return language.LANGUAGE_MODELS if section == "llm" else MODELS[section]


def read_choice(section: str, name: str, given: Any, warn: Warn, key: str = "") -> ModelChoice | None:
    """The model of that name at `key` (by default that of its section); None when it is passed over."""
    path = f"{key or section}.{name}"
    if section == "llm":
        name = language.named_now(name, warn)
    if name in models_of(section):
        needed = (language.NEEDS if section == "llm" else NEEDS).get(name)
        if needed is not None and find_spec(needed[0]) is None:
            warn(f"{path} is passed over: it needs pip install '.[{needed[1]}]'")
            return None
        return ModelChoice(name, _options(section, name, given, path, warn))
    if name not in MODELS_OF_THE_REFERENCE.get(section, ()):
        raise ConfigurationError(unknown(path, name, models_of(section)))
    warn(f"{path} is not available in this version and is passed over")
    return None


def read_remote(given: dict[str, Any], warn: Warn) -> ModelChoice | None:
    """The remote server described beside the models of `embedding`, as the reference does it; takes its keys out.

    It is meant where `remote_service` is true, or where an address is given and no model.
    """
    beside = {key: given.pop(key) for key in BESIDE_EMBEDDING if key in given}
    beside = {key: value for key, value in beside.items() if value is not None}
    remote = beside.pop("remote_service", False)
    meant = remote is True or ("base_url" in beside and not given)
    idle = [key for key in beside if not meant or key not in OF_A_REMOTE_SERVER]
    if idle:
        warn(f"embedding: {', '.join(idle)}: without effect, the model runs without a server")
    if not meant:
        return None
    options = {key: value for key, value in beside.items() if key in OF_A_REMOTE_SERVER}
    return ModelChoice("openai", _options("embedding", "openai", options, "embedding.openai", warn))


def _options(kind: str, model: str, given: Any, path: str, warn: Warn) -> dict[str, Any]:
    given = section(path, given)
    if kind == "llm":
        return language.read_options(path, model, given, warn)
    types = MODELS[kind][model]
    options: dict[str, Any] = {}
    for key, value in given.items():
        name = LANGCHAIN_NAMES.get(path, {}).get(str(key), str(key))
        if path == "embedding.openai" and name == "auth":
            options |= _login(f"{path}.auth", value)
        elif name in types:
            if value is not None:
                options[name] = typed(f"{path}.{key}", value, types[name])
        elif name in LANGCHAIN_OPTIONS.get(path, ()):
            warn(f"{path}.{name} has no effect here")
        else:
            raise ConfigurationError(unknown(f"{path}.{key}", name, types))
    return options


def _login(path: str, given: Any) -> dict[str, Any]:
    """`apikey`, or `username` and `password`; 'from_env' leaves both to CC_EM_APIKEY, CC_EM_USERNAME, …"""
    if given is None or given == "from_env":
        return {}
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: expected apikey, or username and password, or 'from_env'")
    names = {"apikey": "api_key", "api_key": "api_key", "username": "username", "password": "password"}
    told = section(path, given, names)
    return {names[key]: typed(f"{path}.{key}", value, str) for key, value in told.items() if value is not None}
