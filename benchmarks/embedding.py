# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a vector costs: `python -m benchmarks.embedding [--texts 64] [--words 200] [MODEL]`.

MODEL is a folder or a file; without it: the packaged one. Texts of so many words are embedded on one thread, after a
few that are not counted. Prints CPU milliseconds a text, which other work on the machine changes little, and the
largest memory of this process before and after, in megabytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import time
from pathlib import Path

from context_chat_backend.inference.embedding import build_local

_WORDS = ("roof", "town", "hall", "spring", "costs", "paid", "garden", "school", "river", "bridge", "street", "music")


async def main() -> None:
    """Embed and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="as embedding.onnx.model")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--words", type=int, default=200)
    arguments = parser.parse_args()
    chosen = random.Random(1)  # the same texts each time
    texts = [" ".join(chosen.choices(_WORDS, k=arguments.words)) for _ in range(arguments.texts)]
    before = _largest_megabytes()
    options = {"model": arguments.model} if arguments.model else {}
    embedder = build_local("onnx", options, models=Path.cwd() / "build" / "models", threads=1, download=False)
    await embedder.open()
    try:
        await embedder.embed_passages(texts[:4])
        started = time.process_time()
        await embedder.embed_passages(texts)
        spent = time.process_time() - started
        tokens = sum(len(embedder.token_starts(text)) for text in texts) / len(texts)
    finally:
        await embedder.close()
    print(
        json.dumps(
            {
                "model": embedder.space.model,
                "tokens_a_text": round(tokens),
                "cpu_ms_a_text": round(spent / len(texts) * 1000, 1),
                "texts_a_cpu_second": round(len(texts) / spent, 1),
                "megabytes_before": before,
                "megabytes_at_most": _largest_megabytes(),
            }
        )
    )


def _largest_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


if __name__ == "__main__":
    asyncio.run(main())
