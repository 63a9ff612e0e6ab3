# SPDX-License-Identifier: AGPL-3.0-or-later
"""GGUF files for llama.cpp, written here byte by byte (GGUF version 3): MiniLM, and a tiny model that writes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.inference.embedding import graph

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_F32, _F16 = 0, 1
_ALIGNMENT = 32
_LAYERS = 6
_LAYER_TENSORS = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}  # fmt: skip


def write_minilm(path: Path, *, pooling: bool = True) -> Path:
    """The file, in 16 bits; without `pooling` it does not name how it is pooled."""
    model = graph.packaged_model()
    weights = graph.read_safetensors(model / "model.safetensors")
    vocabulary = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    special = {"[PAD]": 3, "[UNK]": 2, "[CLS]": 3, "[SEP]": 3, "[MASK]": 3}
    keys: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "bert"),
        "bert.block_count": (_UINT32, _LAYERS),
        "bert.context_length": (_UINT32, 512),
        "bert.embedding_length": (_UINT32, 384),
        "bert.feed_forward_length": (_UINT32, 1536),
        "bert.attention.head_count": (_UINT32, 12),
        "bert.attention.layer_norm_epsilon": (_FLOAT32, 1e-12),
        "bert.attention.causal": (_BOOL, False),
        "tokenizer.ggml.model": (_STRING, "bert"),
        "tokenizer.ggml.pre": (_STRING, "default"),
        "tokenizer.ggml.token_type_count": (_UINT32, 2),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, [_piece(word, special) for word in words])),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, [special.get(word, 1) for word in words])),
        "tokenizer.ggml.bos_token_id": (_UINT32, vocabulary["[CLS]"]),
        "tokenizer.ggml.eos_token_id": (_UINT32, vocabulary["[SEP]"]),
        "tokenizer.ggml.seperator_token_id": (_UINT32, vocabulary["[SEP]"]),
        "tokenizer.ggml.padding_token_id": (_UINT32, vocabulary["[PAD]"]),
        "tokenizer.ggml.unknown_token_id": (_UINT32, vocabulary["[UNK]"]),
        "tokenizer.ggml.mask_token_id": (_UINT32, vocabulary["[MASK]"]),
    }
    if pooling:
        keys["bert.pooling_type"] = (_UINT32, 1)
    tensors: dict[str, NDArray[Any]] = {
        "token_embd.weight": weights["embeddings.word_embeddings.weight"].astype(np.float16),
        "position_embd.weight": weights["embeddings.position_embeddings.weight"],
        "token_types.weight": weights["embeddings.token_type_embeddings.weight"],
        "token_embd_norm.weight": weights["embeddings.LayerNorm.weight"],
        "token_embd_norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for layer in range(_LAYERS):
        for theirs, ours in _LAYER_TENSORS.items():
            name = f"encoder.layer.{layer}.{theirs}"
            matrix = weights[f"{name}.weight"]
            tensors[f"blk.{layer}.{ours}.weight"] = matrix.astype(np.float16) if matrix.ndim == 2 else matrix
            tensors[f"blk.{layer}.{ours}.bias"] = weights[f"{name}.bias"]
    _write(path, keys, tensors)
    return path


_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}<|assistant|>"
)
_WORDS = (
    "the",
    "roof",
    "is",
    "old",
    "and",
    "lift",
    "was",
    "mended",
    "in",
    "April",
    "dogs",
    "[1]",
    "[2]",
    "Straße",
    "年度",
)
_WIDTH, _HIDDEN, _HEADS, _DEPTH = 64, 128, 4, 2


def write_llama(path: Path, *, ends: bool = True) -> Path:
    """A model of llama's kind with random weights, which writes words of its vocabulary in no order.

    Unless it `ends`, it goes on as long as it may.
    Its tokenizer has all 256 bytes, so that any text has tokens. Dimension 0 is constant, and each token's weight there
    says how often it is written: words often, the end now and then, bytes and marks never.
    """
    random = np.random.default_rng(7)
    words = [f"\u2581{word}" for word in _WORDS]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, "\u2581"]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(words) + 1)]
    keys: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "llama"),
        "llama.block_count": (_UINT32, _DEPTH),
        "llama.context_length": (_UINT32, 2048),
        "llama.embedding_length": (_UINT32, _WIDTH),
        "llama.feed_forward_length": (_UINT32, _HIDDEN),
        "llama.attention.head_count": (_UINT32, _HEADS),
        "llama.attention.head_count_kv": (_UINT32, _HEADS),
        "llama.attention.layer_norm_rms_epsilon": (_FLOAT32, 1e-5),
        "llama.rope.dimension_count": (_UINT32, _WIDTH // _HEADS),
        "llama.vocab_size": (_UINT32, len(tokens)),
        "tokenizer.ggml.model": (_STRING, "llama"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.scores": (_ARRAY, (_FLOAT32, [0.0] * len(tokens))),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, kinds)),
        "tokenizer.ggml.bos_token_id": (_UINT32, 1),
        "tokenizer.ggml.eos_token_id": (_UINT32, 2),
        "tokenizer.ggml.unknown_token_id": (_UINT32, 0),
        "tokenizer.chat_template": (_STRING, _CHAT_TEMPLATE),
    }

    def matrix(rows: int, columns: int) -> NDArray[Any]:
        return random.normal(0, 0.3, (rows, columns)).astype(np.float32)

    embedding, output = matrix(len(tokens), _WIDTH), matrix(len(tokens), _WIDTH)
    embedding[:, 0] = 4.0
    output[:, 0] = [-200.0 if kind != 1 else 0.0 for kind in kinds]
    output[2, 0] = -9.0 if ends else -200.0
    output[-1, 0] = -200.0
    tensors = {"token_embd.weight": embedding, "output.weight": output, "output_norm.weight": _ones(_WIDTH)}
    for layer in range(_DEPTH):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v"):
            tensors[f"{block}{name}.weight"] = matrix(_WIDTH, _WIDTH)
        tensors[f"{block}attn_output.weight"] = matrix(_WIDTH, _WIDTH)
        tensors[f"{block}ffn_gate.weight"] = matrix(_HIDDEN, _WIDTH)
        tensors[f"{block}ffn_up.weight"] = matrix(_HIDDEN, _WIDTH)
        tensors[f"{block}ffn_down.weight"] = matrix(_WIDTH, _HIDDEN)
        for name in ("attn_output", "ffn_down"):
            tensors[f"{block}{name}.weight"][0, :] = 0.0  # dimension 0 stays what it is
        tensors[f"{block}attn_norm.weight"] = tensors[f"{block}ffn_norm.weight"] = _ones(_WIDTH)
    _write(path, keys, tensors)
    return path


def _ones(width: int) -> NDArray[Any]:
    return np.ones(width, dtype=np.float32)


def _piece(word: str, special: dict[str, int]) -> str:
    if word in special:
        return word
    return word.removeprefix("##") if word.startswith("##") else f"\u2581{word}"


def _write(path: Path, keys: dict[str, tuple[int, Any]], tensors: dict[str, NDArray[Any]]) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, (kind, value) in keys.items():
        head += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    data = b""
    for name, tensor in tensors.items():
        kind = _F16 if tensor.dtype == np.float16 else _F32
        shape = tensor.shape[::-1]
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += _padded(np.ascontiguousarray(tensor).tobytes())
    path.write_bytes(_padded(head) + data)


def _value(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _string(value)
    if kind == _ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_value(inner, item) for item in values)
    return struct.pack({_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f", _BOOL: "<?"}[kind], value)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
