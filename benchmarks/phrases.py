# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes a data set of quoted phrases: `python -m benchmarks.phrases FOLDER`, then `context-chat evaluate FOLDER`.

The documents are the English paragraphs of XQuAD. Each is asked for by three words that stand in it side by side, begin
at a random place, and stand in no other paragraph; the words alone stand in many.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from context_chat_backend.evaluation import datasets
from tests.acceptance.test_xquad import DATA

_WORDS = 3
_TRIES = 50


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(7)
    texts = [" ".join(each.text.split()) for each in datasets.xquad(DATA, ["en"], ["en"]).documents]
    lines = []
    for number, text in enumerate(texts, start=1):
        name = f"{number}.txt"
        (folder / name).write_text(text, encoding="utf-8")
        words = text.split()
        for _ in range(_TRIES):
            start = chosen.randrange(len(words) - _WORDS)
            phrase = " ".join(words[start : start + _WORDS]).strip(".,;:")
            if '"' not in phrase and sum(phrase.casefold() in other.casefold() for other in texts) == 1:
                lines.append(json.dumps({"question": f'Where does it say "{phrase}"?', "relevant": [name]}))
                break
    (folder / datasets.QUESTION_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(texts)} documents, {len(lines)} questions in {folder}")


if __name__ == "__main__":
    main()
