# SPDX-License-Identifier: AGPL-3.0-or-later
"""A text in tokens of a model whose `tokenizer.json` is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.errors import ModelUnavailable

_BLOCK = 32 * 1024
"""Characters that are looked at together: what the library notes of a token is a hundred times as long as the token."""


class Tokens:
    """The tokenizer of a model. May be used by several threads."""

    def __init__(self, file: Path) -> None:
        """Raises ModelUnavailable when `file` cannot be read as a tokenizer."""
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises Exception itself
            raise ModelUnavailable(f"the tokenizer of the embedding model cannot be read ({file.name})") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.marks: int = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._padding = _padding(self._tokenizer)

    def starts(self, text: str) -> list[int]:
        """The offsets at which the tokens of `text` begin, in ascending order, without marks."""
        return [
            # To some tokenizers the blank before a word belongs to it.
            begin + (offset + 1 if offset + 1 < end and block[offset].isspace() else offset)
            for begin, block in _blocks(text)
            for offset, end in self._tokenizer.encode(block, add_special_tokens=False).offsets
        ]

    def padded(self, texts: list[str], max_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids with the model's marks and the mask of what is no padding, both of shape (texts, longest text).

        Texts are cut at `max_tokens`, marks included.
        """
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        for encoding in encodings:
            encoding.truncate(max(0, max_tokens - self.marks))
        marked = [self._tokenizer.post_process(encoding).ids for encoding in encodings]
        ids = np.full((len(marked), max(map(len, marked), default=0) or 1), self._padding, dtype=np.int64)
        mask = np.zeros_like(ids)
        mask[:, 0] = 1  # a text without any token is one of padding: it lies somewhere, too
        for row, of_text in enumerate(marked):
            ids[row, : len(of_text)] = of_text
            mask[row, : len(of_text)] = 1
        return ids, mask


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Stretches of the text with their offsets, that end before a blank where there is one."""
    begin = 0
    while begin < len(text):
        end = min(begin + _BLOCK, len(text))
        if end < len(text):
            blank = max(text.rfind(" ", begin + 1, end), text.rfind("\n", begin + 1, end))
            end = blank if blank > begin else end
        yield begin, text[begin:end]
        begin = end


def _padding(tokenizer: Any) -> int:
    """The id of the padding token; nothing of it is seen, but some models count positions by it."""
    for name in ("[PAD]", "<pad>", "<|endoftext|>"):
        if (id_ := tokenizer.token_to_id(name)) is not None:
            return int(id_)
    return 0
