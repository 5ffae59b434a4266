"""What every target has to hold, as functions that take a target's name; ``test_conformance`` calls them for all.

A target that another package registers is held to the same by ``pytest tests/test_conformance.py`` with that package
installed, or by calling these functions. A target whose files no runtime here opens is converted to and not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import keras
import numpy as np

from tests.networks import known, photos_for, real_photos
from xedge.converters import Form, Pixels, find_target
from xedge.errors import UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_head
from xedge.graph.ir import Graph, Weighted
from xedge.quantization import recipe
from xedge.quantization.plan import Plan
from xedge.quantization.rules import Rules
from xedge.quantization.statistics import Statistics
from xedge.runtimes import Session, Settings, choose_runtime, fitting_runtimes
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray, Tensor, UInt8Array
from xedge.vocabulary import Batch, Precision

# A MobileNetV2 of width 0.35 with random weights takes rounding worse: litert-quantizer's int8 has 1.04 on it. It is
# measured on more photos, because with few of them chance decides.
HARDER: dict[str, dict[Precision, float]] = {"transfer": {"dynamic": 0.55, "int8": 0.75}}
PHOTOS = {"transfer": 40}
# Float results that are equal but for the order of sums; results in which an integer may be rounded otherwise.
SAME, NEARLY = 1e-4, 0.01


class Subject:
    """A network without its softmax, real photos for it, and what it makes of them in float."""

    def __init__(self, name: str, pixels: UInt8Array) -> None:
        model, graph = known(name)
        self.name = name
        self.graph = without_head(graph)
        self.photos = photos_for(model, real_photos(PHOTOS[name]) if name in PHOTOS else pixels)
        self.expected = Evaluator(self.graph).output(self.photos)
        self.statistics = recipe.statistics(self.graph, self.photos)
        self._quantized: dict[tuple[bool, Rules], tuple[Graph, Plan]] = {}

    @cache  # noqa: B019 - subjects live as long as the tests
    def small_weights(self, target: str) -> Plan:
        """Return a target's plan of weights of 4 bits."""
        return recipe.w4(self.graph, self.statistics, find_target(target).rules)

    def expected_in(self, target: str, precision: Precision) -> FloatArray:
        """Return what artifacts are held against: the outputs in float, in w4 with the weights that it rounds to.

        Four bits drown the answers of a deep network with random weights, so that its own outputs would hide faults.
        """
        if precision != "w4":
            return self.expected
        return Evaluator(with_rounded_weights(self.graph, self.small_weights(target))).output(self.photos)

    def quantized(self, *, all_integer: bool = False, rules: Rules | None = None) -> tuple[Graph, Plan]:
        """Return the graph made ready for int8, and its plan; those of the same rules are made once."""
        kind = (all_integer, rules or Rules())
        if kind not in self._quantized:
            self._quantized[kind] = self.quantized_anew(*kind)
        return self._quantized[kind]

    def quantized_anew(self, all_integer: bool, rules: Rules) -> tuple[Graph, Plan]:
        """Return the graph made ready for int8, and its plan."""
        pixel = (1.0, 0.0) if self.graph.name == "transfer" else (1 / 127.5, -1.0)
        return recipe.int8(self.graph, self.statistics, rules=rules, pixel=pixel, all_integer=all_integer)

    def convert(self, target: str, form: Form, *, anew: bool = False) -> dict[str, bytes]:
        """Return the files of an artifact, of which the first has the suffix that the target says.

        Args:
            target: The target's name.
            form: The artifact's form.
            anew: Also quantize once more.
        """
        graph, plan, found = self.graph, None, find_target(target)
        all_integer = form.io != "float32"
        if form.precision == "int8" and anew:
            graph, plan = self.quantized_anew(all_integer, found.rules)
        elif form.precision == "int8":
            graph, plan = self.quantized(all_integer=all_integer, rules=found.rules)
        elif form.precision == "w4":
            plan = self.small_weights(target)
        files = dict(found.convert(graph, form, plan))
        assert next(iter(files)) == found.suffix
        assert all(files.values())
        return files


def with_rounded_weights(graph: Graph, plan: Plan) -> Graph:
    """Return a graph with the weights and biases that a plan of weights of 4 bits rounds to."""
    kernels = plan.weights
    changed = {
        node.name: replace(node, kernel=kernels[node.name].real.astype(np.float32), bias=kernels[node.name].bias)
        for node in graph
        if isinstance(node, Weighted) and node.name in kernels
    }
    return graph.rewritten(changed)


def runs_here(target: str) -> bool:
    """Whether some runtime opens the target's files."""
    try:
        return bool(fitting_runtimes(find_target(target).suffix))
    except UnsupportedError:
        return False


def opened(files: Mapping[str, bytes], folder: Path) -> Session:
    """Write an artifact's files and load them, computing in float32 as the reference does."""
    paths = [folder / f"artifact{suffix}" for suffix in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    return choose_runtime(paths[0]).open(paths[0], Settings(threads=2, exact=True))


def fed(photo: Tensor, target: str) -> Tensor:
    """Return one photo (H, W, C) as the target's input."""
    nchw = find_target(target).layout == "NCHW"
    return np.ascontiguousarray(photo.transpose(2, 0, 1) if nchw else photo)[None]


def noise(got: FloatArray, expected: FloatArray) -> float:
    """Return the root mean square error over the outputs' own spread; an untrained network's may hardly spread."""
    spread = max(float(np.sqrt(((expected - expected.mean(0)) ** 2).mean())), 0.1 * float(np.abs(expected).mean()))
    return float(np.sqrt(((got - expected) ** 2).mean())) / spread


def check_outputs(target: str, precision: Precision, one: Subject, folder: Path, *, half: bool = False) -> None:
    """An artifact's outputs are those of the graph, up to the noise that its precision may bring.

    Args:
        target: The target's name.
        precision: The precision.
        one: The network and its photos.
        folder: Where the files are written.
        half: Whether the artifact may compute in half precision.
    """
    files = one.convert(target, Form(precision=precision, half=half))
    if not runs_here(target):
        return
    session = opened(files, folder)
    got = np.concatenate([session.run(fed(photo, target)) for photo in one.photos])
    allowed = HARDER.get(one.name, {}).get(precision, find_target(target).conformance_noise(precision))
    assert noise(got, one.expected_in(target, precision)) <= allowed


def check_integer_ends(target: str, one: Subject, folder: Path) -> None:
    """An int8 artifact with integers at its ends takes and gives them, in the scales of its plan."""
    form = Form(precision="int8", io=find_target(target).ends[0])
    _, plan = one.quantized(all_integer=True)
    files = one.convert(target, form)
    if not runs_here(target):
        return
    session = opened(files, folder)
    start, end = plan.activations[one.graph.input.name], plan.activations[one.graph.output]
    shift = 128 if form.io == "uint8" else 0
    integers = [start.quantize(photo + plan.input_shift).astype(np.int16) for photo in one.photos]
    rows = [session.run(fed((photo + shift).astype(form.io), target)) for photo in integers]
    assert all(row.dtype == form.io for row in rows)
    got = np.concatenate([end.dequantize((row.astype(np.int16) - shift).astype(np.int8)) for row in rows])
    assert noise(got, one.expected) <= find_target(target).conformance_noise("int8")


def check_largest_products(target: str, precision: Precision, size: int, inputs: int, folder: Path) -> None:
    """Every activation and every weight is the largest of its tensor, which sums in 16 bits hold least.

    Processors with VNNI, and Arm, have no such sums and pass in any case; tests/test_without_vnni.py emulates others.
    """
    (graph, statistics), plan, found = largest_products(size, inputs), None, find_target(target)
    if precision == "int8":
        graph, plan = recipe.int8(graph, statistics, rules=found.rules)
        assert plan.kernels
    if precision == "w4":
        plan = recipe.w4(graph, statistics, found.rules)
    files = found.convert(graph, Form(precision=precision), plan)
    if not runs_here(target):
        return
    got = opened(files, folder).run(fed(np.ones((6, 6, inputs), np.float32), target))
    assert np.abs(got / (size * size * inputs) - 1).max() <= 0.01


@cache
def largest_products(size: int, inputs: int) -> tuple[Graph, Statistics]:
    """A convolution whose weights are one, and what photos of ones show of it."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6, 6, inputs)),
            layers.Conv2D(8, size, use_bias=False, kernel_initializer="ones"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    graph = read_keras(model)
    return graph, recipe.statistics(graph, np.ones((4, 6, 6, inputs), np.float32))


def check_preprocessing_inside(target: str, precision: Precision, one: Subject, folder: Path) -> None:
    """Pixels that the artifact scales itself give what photos give that were scaled before.

    Where the first convolution computes in integers, the pixels are its integers; elsewhere they are scaled first. The
    last bit of a scaled pixel may differ, and with it, where activations are rounded, an integer.
    """
    pixels = Pixels(scale=(1 / 127.5,), offset=(-1.0,))
    whole = np.rint((one.photos + 1) * 127.5).astype(np.uint8)
    photos = whole.astype(np.float32) * np.float32(1 / 127.5) + np.float32(-1)
    files = [one.convert(target, Form(precision=precision, pixels=inside)) for inside in (None, pixels)]
    if not runs_here(target):
        return
    folders = [folder / "outside", folder / "inside"]
    for one_folder in folders:
        one_folder.mkdir()
    outside, inside = (opened(*pair) for pair in zip(files, folders, strict=True))
    rounded = find_target(target).precisions[precision][1] is not None or precision in ("dynamic", "int8")
    for photo, integers in zip(photos, whole, strict=True):
        expected, got = outside.run(fed(photo, target)), inside.run(fed(integers, target))
        allowed = NEARLY if rounded else SAME
        assert np.abs(got - expected).max() <= allowed * max(1.0, float(np.abs(expected).max()))


def check_batches(target: str, one: Subject, folder: Path) -> None:
    """An artifact takes the number of photos that it was asked to take, or any number."""
    tried: tuple[tuple[Batch, int], ...] = ((3, 3), ("dynamic", 1), ("dynamic", 5))
    for batch, taken in tried:
        files = one.convert(target, Form(precision="fp32", batch=batch))
        if not runs_here(target):
            continue
        session = opened(files, folder)
        assert session.input_shape()[0] == (-1 if batch == "dynamic" else batch)
        rows = session.run(np.concatenate([fed(photo, target) for photo in one.photos[:taken]]))
        assert np.abs(rows - one.expected[:taken]).max() <= SAME


def check_same_bytes(target: str, precision: Precision, one: Subject) -> None:
    """The same graph gives the same bytes."""
    made = [one.convert(target, Form(precision=precision), anew=True) for _ in range(2)]
    assert made[0] == made[1]
