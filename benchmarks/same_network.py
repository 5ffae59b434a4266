"""Compare what is made of one network that comes from Keras, from ONNX by tf2onnx, and from ONNX by PyTorch.

The first and the last call need xedge[host], the one between them PyTorch and onnxscript and no xedge:

    python benchmarks/same_network.py keras MODEL.keras FOLDER
    python benchmarks/same_network.py torch FOLDER
    python benchmarks/same_network.py compare MODEL.keras FOLDER CALIBRATION_PHOTOS

The first exports the model with tf2onnx and writes its layers and weights down. The second builds the same layers in
PyTorch, and exports them with both of its exporters. The last prints, for each file, whether its reference graph has
the nodes of that from Keras, how far the weights are apart, and how many integers of an int8 plan differ.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("tf2onnx", "torchscript", "dynamo")


def from_keras(path: Path, folder: Path) -> None:
    """Write the model as ONNX, and its layers and weights for PyTorch."""
    keras: Any = importlib.import_module("keras")
    model = keras.models.load_model(path, compile=False)
    model(np.zeros((1, *model.input_shape[1:]), np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    model.export(str(folder / "tf2onnx.onnx"), format="onnx", verbose=False)
    layers: list[dict[str, Any]] = []
    weights: dict[str, Any] = {}
    for layer in model.layers:
        made_of = layer._inbound_nodes[0].arguments.keras_tensors
        inputs = [tensor._keras_history.operation.name for tensor in made_of]
        layers.append({"kind": type(layer).__name__, "name": layer.name, "inputs": inputs, **_options(layer)})
        weights |= {f"{layer.name}/{number}": value for number, value in enumerate(layer.get_weights())}
    (folder / "layers.json").write_text(json.dumps({"shape": model.input_shape[1:], "layers": layers}))
    np.savez(folder / "weights.npz", **weights)


def _options(layer: Any) -> dict[str, Any]:
    config = layer.get_config()
    named = ("strides", "padding", "pool_size", "activation", "epsilon", "use_bias", "kernel_size")
    return {name: config[name] for name in named if name in config}


def in_torch(folder: Path) -> None:
    """Build the layers in PyTorch and export them."""
    torch: Any = importlib.import_module("torch")
    functions: Any = torch.nn.functional
    described = json.loads((folder / "layers.json").read_text())
    arrays = np.load(folder / "weights.npz")

    class Network(torch.nn.Module):  # type: ignore[misc]
        """The layers as PyTorch's functions, with padding as TensorFlow has it."""

        def __init__(self) -> None:
            super().__init__()
            for name in arrays.files:
                value = arrays[name]
                value = value.transpose(3, 2, 0, 1).copy() if value.ndim == 4 else value
                self.register_buffer(name.replace("/", "_of_"), torch.from_numpy(value))

        def weight(self, layer: dict[str, Any], number: int) -> Any:
            return getattr(self, f"{layer['name']}_of_{number}", None)

        def forward(self, photo: Any) -> Any:
            made: dict[str, Any] = {}
            for layer in described["layers"]:
                read = [made[name] for name in layer["inputs"]]
                made[layer["name"]] = photo if layer["kind"] == "InputLayer" else self.layer(layer, read)
            return made[described["layers"][-1]["name"]]

        def layer(self, layer: dict[str, Any], read: list[Any]) -> Any:
            x, kind, weight = read[0], layer["kind"], self.weight
            if kind == "Conv2D":
                x = functions.conv2d(_padded(x, layer), weight(layer, 0), weight(layer, 1), layer["strides"])
            elif kind == "SeparableConv2D":
                kernel = weight(layer, 0).transpose(0, 1)
                x = functions.conv2d(_padded(x, layer), kernel, None, layer["strides"], groups=x.shape[1])
                x = functions.conv2d(x, weight(layer, 1), weight(layer, 2))
            elif kind == "BatchNormalization":
                gamma, beta, mean, variance = (weight(layer, number) for number in range(4))
                x = functions.batch_norm(x, mean, variance, gamma, beta, eps=layer["epsilon"])
            elif kind == "MaxPooling2D":
                x = functions.max_pool2d(_padded(x, layer, float("-inf")), layer["pool_size"], layer["strides"])
            elif kind == "Add":
                x = read[0] + read[1]
            elif kind == "GlobalAveragePooling2D":
                x = x.mean((2, 3))
            elif kind == "Dense":
                x = x @ weight(layer, 0) + weight(layer, 1)
            elif kind not in ("Activation", "ReLU", "Dropout", "Softmax"):
                raise SystemExit(f"no layer {kind} here")
            activation = {"ReLU": "relu", "Softmax": "softmax"}.get(kind, layer.get("activation"))
            if activation == "softmax":
                return functions.softmax(x, -1)
            return functions.relu(x) if activation == "relu" else x

    def _padded(x: Any, layer: dict[str, Any], value: float = 0.0) -> Any:
        if layer["padding"] == "valid":
            return x
        sizes = layer.get("pool_size") or layer["kernel_size"]
        pads: list[int] = []
        for axis in (1, 0):  # PyTorch names the last axis first
            size, stride = int(x.shape[2 + axis]), layer["strides"][axis]
            missing = max((-(-size // stride) - 1) * stride + sizes[axis] - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return functions.pad(x, pads, value=value) if any(pads) else x

    height, width, channels = described["shape"]
    network, photo = Network().eval(), torch.zeros(1, channels, height, width)
    for name in ("torchscript", "dynamo"):
        torch.onnx.export(network, (photo,), str(folder / f"{name}.onnx"), dynamo=name == "dynamo")


def compare(path: Path, folder: Path, photos: Path) -> None:
    """Print what differs between the reference graphs and the int8 plans."""
    names = ("converters", "photos.preprocess", "photos.sets", "quantization.recipe", "sources.finding")
    converters, preprocess, sets, recipe, finding = (importlib.import_module(f"xedge.{name}") for name in names)
    rules, plans, graphs = converters.find_target("onnx").rules, {}, {}
    files = sets.read_folder(photos).sample(20, seed=0).files
    for name in ("keras", *FILES):
        source = finding.find_source(str(path if name == "keras" else folder / f"{name}.onnx"))
        with tempfile.TemporaryDirectory() as scratch:
            graph = source.kind.read(source, Path(scratch), allow_code=False).graph
        prepared = preprocess.scheme("tf", *graph.shape(graph.input.name))
        inputs = [prepared.photo(file) for file in files]
        statistics = recipe.statistics(graph, inputs)
        graphs[name], plans[name] = graph, recipe.int8(graph, statistics, rules=rules)[1]
    ours = _in_order(graphs["keras"])
    for name in FILES:
        theirs = _in_order(graphs[name])
        pairs = list(zip(ours, theirs, strict=False))
        same = len(ours) == len(theirs) and all(type(one) is type(other) for one, other in pairs)
        if not same:
            print(f"{name}: other nodes ({len(theirs)} and {len(ours)})")
            continue
        apart = max(_apart(one, other) for one, other in pairs)
        kernels = [(plans["keras"].kernels.get(a.name), plans[name].kernels.get(b.name)) for a, b in pairs]
        known = [(a.values, b.values) for a, b in kernels if a is not None and b is not None]
        differing = sum(int((a != b).sum()) for a, b in known)
        print(
            f"{name}: the same {len(theirs)} nodes, weights within {apart:.2g} of the largest, {differing} of "
            f"{sum(a.size for a, _ in known)} integers in {len(known)} kernels differ"
        )


def _in_order(graph: Any) -> list[Any]:
    """Return the nodes in the order in which the output needs them, which names do not change."""
    found: dict[str, Any] = {}

    def visit(name: str) -> None:
        if name not in found:
            for one in graph[name].inputs:
                visit(one)
            found[name] = graph[name]

    visit(graph.output)
    return list(found.values())


def _apart(one: Any, other: Any) -> float:
    """The greatest difference of a kernel or bias, over the greatest value."""
    found = 0.0
    for part in ("kernel", "bias"):
        ours, theirs = getattr(one, part, None), getattr(other, part, None)
        if isinstance(ours, np.ndarray) and ours.size:
            found = max(found, float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-30)))
    return found


def main() -> int:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("keras", "torch", "compare"))
    parser.add_argument("paths", type=Path, nargs="+")
    options = parser.parse_args()
    steps: dict[str, Callable[..., None]] = {"keras": from_keras, "torch": in_torch, "compare": compare}
    steps[options.step](*options.paths)
    return 0


if __name__ == "__main__":
    sys.exit(main())
