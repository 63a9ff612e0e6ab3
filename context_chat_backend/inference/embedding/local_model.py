# SPDX-License-Identifier: AGPL-3.0-or-later
"""An embedding model in a folder: `tokenizer.json`, an ONNX file, and what sentence-transformers writes beside them.

All that is read here is small; neither weights nor tokenizer are loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.inference.embedding import graph
from context_chat_backend.inference.embedding.families import family_of

POOLINGS = ("mean", "cls", "lasttoken", "max")
"""How the vectors of the tokens become one."""

_GRAPHS = ("model.onnx", "onnx/model.onnx")
_DIMENSIONS = ("hidden_size", "dim", "d_model", "n_embd")
_MAX_TOKENS = 512
"""Where a model does not say how much it reads."""
_MOST_TOKENS = 8192
"""More is never read at once: chunks are shorter, and the memory of attention grows with the square."""
_OPTION = "embedding.onnx.model"


@dataclass(frozen=True)
class LocalModel:
    """What an embedder has to know of a model before it loads it."""

    space: EmbeddingSpace
    tokenizer: Path
    pooling: str
    max_tokens: int
    """Marks of its own included."""
    graph: Callable[[], Path]
    """The file of its graph, made when it is not there."""
    graph_can_be_made: bool = False
    """Whether a file that cannot be read may be deleted and made again."""


def packaged(cache: Path, *, quantised: bool) -> LocalModel:
    """The MiniLM of the package, whose graph is built in the folder `cache`. Raises ConfigurationError.

    The vectors of int8 and of fp32 weights may be compared, but are not the same: two spaces.
    """
    folder = graph.packaged_model()
    precision = "int8" if quantised else "fp32"
    return LocalModel(
        EmbeddingSpace(f"all-MiniLM-L6-v2-{precision}", graph.DIMENSION, languages=("english",)),
        folder / "tokenizer.json",
        "mean",
        graph.MAX_TOKENS,
        lambda: graph.ensure_graph(folder, cache, quantised=quantised),
        graph_can_be_made=True,
    )


def read_model(path: Path, options: Mapping[str, Any]) -> LocalModel:
    """The model at `path`: a folder, or the ONNX file in it when it has several.

    Prefixes, pooling and length are those of `options` (`question_prefix`, `passage_prefix`, `pooling`, `max_tokens`),
    else what the folder says, else what is known of a model of that name. Raises ConfigurationError.
    """
    folder, file = _place(path)
    about = _json(folder / "config.json")
    pooling_settings = _json(folder / "1_Pooling" / "config.json")
    name = _name(path, folder)
    family = family_of(name)
    pooling = str(options.get("pooling") or _pooling(pooling_settings) or family.pooling)
    if pooling not in POOLINGS:
        raise ConfigurationError(f"embedding.onnx.pooling: expected one of {', '.join(POOLINGS)}, found '{pooling}'")
    space = EmbeddingSpace(
        f"{name}@{_fingerprint(file, pooling)}",
        _dimension(folder, about, pooling_settings),
        str(options.get("question_prefix", family.question_prefix)),
        str(options.get("passage_prefix", family.passage_prefix)),
        family.languages,
    )
    max_tokens = int(options.get("max_tokens") or _max_tokens(folder, about))
    return LocalModel(space, folder / "tokenizer.json", pooling, min(max_tokens, _MOST_TOKENS), lambda: file)


def _place(path: Path) -> tuple[Path, Path]:
    """The folder with the tokenizer, and the ONNX file."""
    if path.suffix == ".onnx":
        candidates = [path]
        folders = [path.parent, path.parent.parent]
    else:
        candidates = [path / graph_ for graph_ in _GRAPHS]
        folders = [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    folder = next((folder for folder in folders if (folder / "tokenizer.json").is_file()), None)
    if file is None or folder is None:
        missing = candidates[0] if file is None else folders[0] / "tokenizer.json"
        raise ConfigurationError(
            f"{_OPTION}: {missing} is not there; name a folder that holds tokenizer.json and model.onnx, or the .onnx "
            "file in it"
        )
    return folder, file


def _name(path: Path, folder: Path) -> str:
    """What the model is called: its folder's name, and that of its file where it was chosen and says more than 'model'.

    In the cache of Hugging Face the folder is `models--<owner>--<name>/snapshots/<digest>`.
    """
    folder = folder.absolute()
    name = folder.parents[1].name if folder.parent.name == "snapshots" else folder.name
    name = name.removeprefix("models--").replace("--", "/")
    stem = path.stem if path.suffix == ".onnx" else "model"
    return name if stem == "model" else f"{name}/{stem}"


def _fingerprint(file: Path, pooling: str) -> str:
    """Tells models of one name apart: their vectors must not be compared."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for weights in sorted(file.parent.glob(f"{file.name}_data*")):  # large models keep their weights beside the graph
        digest.update(f"{weights.name} {weights.stat().st_size}".encode())
    digest.update(pooling.encode())
    return digest.hexdigest()[:8]


def _dimension(folder: Path, about: Mapping[str, Any], pooling: Mapping[str, Any]) -> int:
    dense = [
        module["path"]
        for module in _json(folder / "modules.json", [])
        if isinstance(module, dict) and str(module.get("type", "")).endswith(".Dense")
    ]
    told = (
        _json(folder / dense[-1] / "config.json").get("out_features") if dense else None,
        pooling.get("word_embedding_dimension"),
        *(about.get(key) for key in _DIMENSIONS),
    )
    dimension = next((number for number in told if isinstance(number, int) and number > 0), None)
    if dimension is None:
        raise ConfigurationError(
            f"{_OPTION}: {folder} does not say how long the vectors are; put the model's config.json there"
        )
    return dimension


def _max_tokens(folder: Path, about: Mapping[str, Any]) -> int:
    """How many tokens the model reads: the least of what its files say."""
    cut = _json(folder / "tokenizer.json").get("truncation")
    told = [
        _json(folder / "sentence_bert_config.json").get("max_seq_length"),
        _json(folder / "tokenizer_config.json").get("model_max_length"),
        about.get("max_position_embeddings"),
    ]
    if about.get("model_type") in ("xlm-roberta", "roberta", "camembert", "mpnet") and isinstance(told[2], int):
        told[2] -= 2  # two positions of theirs are for padding
    if told[0] is None and told[1] is None and isinstance(cut, dict):  # often shorter than what the model was made for
        told.append(cut.get("max_length"))
    return min((int(number) for number in told if isinstance(number, int | float) and number > 0), default=_MAX_TOKENS)


def _pooling(settings: Mapping[str, Any]) -> str | None:
    """The pooling in a file of sentence-transformers; None when there is no file."""
    if not settings:
        return None
    if isinstance(settings.get("pooling_mode"), str):
        return str(settings["pooling_mode"])
    names = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
    chosen = [key.removeprefix("pooling_mode_") for key, value in settings.items() if value is True]
    chosen = [name for name in chosen if name != "include_prompt"]
    return "+".join(names.get(name, name) for name in chosen) or None


def _json(file: Path, default: Any = None) -> Any:
    """What a JSON file holds; empty when there is none. Raises ConfigurationError when it cannot be read."""
    empty: Any = {} if default is None else default
    if not file.is_file():
        return empty
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{_OPTION}: {file} cannot be read as JSON; copy it anew") from error
    return read if type(read) is type(empty) else empty
