# SPDX-License-Identifier: AGPL-3.0-or-later
"""The packaged MiniLM in ONNX Runtime and in llama.cpp: `python -m benchmarks.minilm [--texts 64]`.

The same texts, pieces of 200 tokens of our documents, are embedded by the product's `onnx` (int8) and `llama` (q8_0) on
one thread each, in turns; CPU time is counted, which other work on the machine changes little. Both are
compared with the model in 32 bits. Needs the extra `llama`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from context_chat_backend.inference.embedding import build_local
from context_chat_backend.ports import Embedder, Vectors
from tests.gguf import write_minilm

_DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"
_TOKENS = 200
_Q8_0 = 7
"""llama.cpp's number for 8 bits, 32 weights to a scale."""
_BATCH = 16


def write_minilm_q8(path: Path) -> Path:
    """The file, as llama.cpp itself quantises it."""
    import llama_cpp
    from llama_cpp import _logger

    _logger.set_verbose(False)
    exact = write_minilm(path.with_suffix(".f16.gguf"))
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = _Q8_0
    if llama_cpp.llama_model_quantize(str(exact).encode(), str(path).encode(), settings):
        raise OSError(f"llama.cpp could not write {path}")
    exact.unlink()
    return path


async def main() -> None:
    """Embed, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        options: dict[str, tuple[str, dict[str, Any]]] = {
            "exact": ("onnx", {"quantised": False}),
            "onnx": ("onnx", {}),
            "llama": ("llama", {"model": write_minilm_q8(models / "minilm-q8_0.gguf").name}),
        }
        embedders = {key: build_local(name, given, models=models, threads=1) for key, (name, given) in options.items()}
        texts = pieces(arguments.texts, embedders["exact"])
        for embedder in embedders.values():
            await embedder.open()
            await embedder.embed_passages(texts[:2])
        exact = await embedders["exact"].embed_passages(texts)
        vectors, seconds = await in_turns({key: embedders[key] for key in ("onnx", "llama")}, texts)
        for embedder in embedders.values():
            await embedder.close()
    print(
        json.dumps(
            {
                "texts": len(texts),
                "texts_a_cpu_second": {key: round(len(texts) / spent, 1) for key, spent in seconds.items()},
                "onnx_to_llama": round(seconds["llama"] / seconds["onnx"], 2),
                "mean_cosine_to_fp32": {key: round(cosine(found, exact), 4) for key, found in vectors.items()},
            }
        )
    )


async def in_turns(embedders: dict[str, Embedder], texts: Sequence[str]) -> tuple[dict[str, Vectors], dict[str, float]]:
    """Vectors and CPU seconds of each, which take turns after every few texts."""
    found: dict[str, list[Vectors]] = {key: [] for key in embedders}
    seconds = dict.fromkeys(embedders, 0.0)
    for start in range(0, len(texts), _BATCH):
        for key, embedder in embedders.items():
            started = time.process_time()
            found[key].append(await embedder.embed_passages(texts[start : start + _BATCH]))
            seconds[key] += time.process_time() - started
    return {key: np.concatenate(vectors) for key, vectors in found.items()}, seconds


def cosine(found: Vectors, exact: Vectors) -> float:
    """The mean over texts; all vectors have length 1."""
    return float((found * exact).sum(axis=1).mean())


def pieces(count: int, embedder: Embedder) -> list[str]:
    """So many texts of 200 tokens out of the documents; fewer where these are shorter."""
    found: list[str] = []
    for page in sorted(_DOCUMENTS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        starts = embedder.token_starts(text)[::_TOKENS]
        found += [text[start:end] for start, end in pairwise(starts)]
    return found[:count]


if __name__ == "__main__":
    asyncio.run(main())
