"""Affine arithmetic, calibration and ranges: exact where they claim to be, independent of order, hard to break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from tests.networks import known, photos_for
from xedge.converters import Form, find_target
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_head
from xedge.graph.ir import Conv, Depthwise, Graph, Weighted
from xedge.photos.preprocess import pixels_as_int8, scheme
from xedge.photos.sets import CalibrationSet
from xedge.quantization import adaptive_rounding, depthwise_rounding, pairs, recipe
from xedge.quantization import branches as branches_module
from xedge.quantization.affine import Affine, QuantizedKernel, quantize_kernel
from xedge.quantization.bias_correction import corrected_bias
from xedge.quantization.branches import dynamic_branches
from xedge.quantization.calibration import calibrate
from xedge.quantization.concatenations import concatenated_streams
from xedge.quantization.coverage import LEAST, coverage
from xedge.quantization.equalization import candidates, equalized
from xedge.quantization.front import front
from xedge.quantization.plan import Plan
from xedge.quantization.products import POSITIONS
from xedge.quantization.ranges import (
    entropy_range,
    expected_error,
    least_squares_range,
    min_max_range,
    moving_average_range,
    percentile_range,
)
from xedge.quantization.rules import Rules
from xedge.quantization.simulator import rounded_tensors, simulator
from xedge.quantization.splitting import split_outliers
from xedge.quantization.static import exact_pixels, float_by_default, static_int8
from xedge.quantization.statistics import BIN_CENTRES, CHANNEL_BINS, CHANNEL_PLACES, COARSE, Statistics, tensor_bins
from xedge.quantization.streams import equalized_streams, streams
from xedge.quantization.weight_clipping import clipped_scales
from xedge.runtimes import Settings, choose_runtime
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray, UInt8Array

# ONNX Runtime takes subnormal numbers for zero in the threads that it runs in, as xedge asks it to, and Hypothesis
# refuses to make such numbers there.
numbers = st.floats(-1e4, 1e4, allow_subnormal=False)
ranges = st.tuples(numbers, numbers).filter(lambda r: r[0] != r[1])


@given(ranges)
def test_zero_is_held_exactly(bounds: tuple[float, float]) -> None:
    affine = Affine.of_range(min(bounds), max(bounds))
    zero = affine.quantize(np.zeros(1, np.float32))
    assert affine.dequantize(zero)[0] == 0


@given(ranges, st.floats(0, 1, allow_subnormal=False))
def test_values_within_the_range_err_by_half_a_step(bounds: tuple[float, float], part: float) -> None:
    affine = Affine.of_range(min(bounds), max(bounds))
    value = np.array([affine.low + part * (affine.high - affine.low)], np.float32)
    error = abs(float(affine.dequantize(affine.quantize(value))[0] - value[0]))
    assert error <= affine.scale * 0.5001 + 1e-5 * abs(float(value[0]))


@given(st.integers(-128, 127), ranges)
def test_integers_survive_the_round_trip(integer: int, bounds: tuple[float, float]) -> None:
    affine = Affine.of_range(min(bounds), max(bounds))
    held = np.array([integer], np.int8)
    assert affine.quantize(affine.dequantize(held))[0] == integer


def test_impossible_parameters_fail_when_built() -> None:
    for scale, zero_point in ((0.0, 0), (float("nan"), 0), (1.0, 128)):
        with pytest.raises(ValueError, match="invalid int8 parameters"):
            Affine(scale=scale, zero_point=zero_point)


def test_kernels_use_the_symmetric_range_of_each_channel() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32) * np.geomspace(
        1e-4, 10, 16, dtype=np.float32
    )
    quantized = quantize_kernel(kernel, np.zeros(16, np.float32))
    assert (np.abs(quantized.values).reshape(-1, 16).max(0) == 127).all()
    assert (np.abs(quantized.values * quantized.scales - kernel) <= quantized.scales * 0.5001).all()


def test_dead_channels_stay_zero() -> None:
    quantized = quantize_kernel(np.zeros((1, 1, 4, 4), np.float32), np.zeros(4, np.float32))
    assert not quantized.values.any()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return known("xception")[1]


@pytest.fixture(scope="module")
def photos(pixels: np.ndarray) -> np.ndarray:
    return photos_for(known("xception")[0], pixels)


@pytest.fixture(scope="module")
def statistics(graph: Graph, photos: np.ndarray) -> Statistics:
    return calibrate(graph, photos)


def test_the_order_of_the_photos_changes_nothing(graph: Graph, photos: np.ndarray, statistics: Statistics) -> None:
    other = calibrate(graph, photos[::-1])
    for name, seen in statistics.items():
        assert np.array_equal(seen.counts, other[name].counts), name
        assert np.array_equal(seen.mean, other[name].mean), name
        assert (seen.low, seen.high) == (other[name].low, other[name].high), name


def test_one_extreme_value_does_not_set_the_range(statistics: Statistics) -> None:
    name = "block3_sepconv1/depthwise"
    seen = statistics[name]
    counts = seen.counts.copy()
    counts[np.argmin(np.abs(BIN_CENTRES - 50 * seen.high))] += int(seen.counts.max() // 1000) + 1
    broken = replace(seen, counts=counts, high=50 * seen.high)
    assert least_squares_range(broken)[1] <= 5 * seen.high


def test_bins_are_three_per_cent_wide() -> None:
    positive = np.sort(BIN_CENTRES[np.isfinite(BIN_CENTRES) & (BIN_CENTRES > 1e-30) & (BIN_CENTRES < 1e30)])
    assert (positive[1:] / positive[:-1]).max() <= 1.04


def test_bias_correction_keeps_the_mean(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    for node in graph:
        if not isinstance(node, Weighted):
            continue
        quantized = quantize_kernel(node.kernel, node.bias)
        mean = rng.normal(size=graph.shape(node.inputs[0])[-1])
        bias = corrected_bias(node, quantized, mean)
        restored = quantized.values * quantized.scales.astype(np.float64)
        axes = (0, 1) if isinstance(node, Conv | Depthwise) else ()
        before, after = node.kernel.astype(np.float64).sum(axes), restored.sum(axes)
        if isinstance(node, Depthwise):
            want, got = before * mean + node.bias, after * mean + bias
        else:
            want, got = mean @ before + node.bias, mean @ after + bias
        assert np.allclose(want, got, atol=1e-4), node.name


def test_every_pixel_value_is_held_exactly(graph: Graph, statistics: Statistics) -> None:
    preprocessing = scheme("tf", 71, 71, 3)
    plan = static_int8(graph, statistics, pixel=preprocessing.pixel)
    pixels = np.arange(256, dtype=np.uint8)
    photo = preprocessing.scaled(pixels)
    held = plan.activations[graph.input.name].quantize(photo + np.float32(plan.input_shift))
    assert np.array_equal(held, pixels_as_int8(pixels))
    assert np.array_equal(held.astype(int), pixels.astype(int) - 128)


@pytest.mark.parametrize("symmetric", [False, True])
def test_padding_stands_for_the_pixel_next_to_zero(*, symmetric: bool) -> None:
    """With it, zero is half a step beside a pixel, and every pixel is held exactly all the same."""
    graph = known("padded")[1]
    pixel = scheme("tf", 71, 71, 3).pixel
    assert pixel is not None
    found = exact_pixels(graph, pixel, symmetric=symmetric)
    assert found is not None
    affine, shift = found
    assert affine.zero_point == 0
    assert abs(shift) == pytest.approx(affine.scale / 2, rel=1e-4)
    pixels = np.arange(256, dtype=np.float32)
    held = affine.quantize((pixels * pixel[0] + pixel[1] + shift).astype(np.float32))
    assert np.array_equal(held.astype(int), np.arange(256) - 128)


def test_no_pixel_stands_for_padding_far_from_all_of_them() -> None:
    assert exact_pixels(known("padded")[1], (1 / 255, 0.5)) is None


def test_calibration_sets_hash_their_contents_in_any_order(calibration: CalibrationSet) -> None:
    files = list(calibration.photos)
    turned = CalibrationSet(source="turned", photos=files[::-1])
    assert turned.digest() == calibration.digest()
    assert CalibrationSet(source="fewer", photos=files[1:]).digest() != calibration.digest()


def test_coarse_bins_hold_their_values() -> None:
    assert len(CHANNEL_PLACES) == CHANNEL_BINS
    values = np.array([-3.0, -0.01, 0.0, 1e-9, 0.3, 77.0], np.float32)
    places = CHANNEL_PLACES[COARSE[tensor_bins(values)]]
    for value, (least, most) in zip(values, np.sort(places, axis=1)[:, [0, -1]], strict=True):
        assert least - 0.04 * abs(value) <= np.where(abs(value) < 1e-4, 0, value) <= most + 0.04 * abs(value)


@pytest.mark.parametrize("name", ["xception", "xception_elu_between", "transfer"])
def test_equalization_changes_no_float_result(name: str, pixels: UInt8Array) -> None:
    model, whole = known(name)
    graph = without_head(whole)
    photos = photos_for(model, pixels)
    seen = recipe.statistics(graph, photos)
    equal, _ = equalized(graph, seen, least_squares_range)
    expected, got = Evaluator(graph).output(photos), Evaluator(equal).output(photos)
    assert np.abs(got - expected).max() <= 1e-3 * max(1.0, float(np.abs(expected).max()))
    changed = [n for n in candidates(graph) if not np.array_equal(_kernel(graph, n), _kernel(equal, n))]
    assert changed == list(candidates(graph))


def _kernel(graph: Graph, name: str) -> FloatArray:
    node = graph[name]
    assert isinstance(node, Weighted)
    return node.kernel


@pytest.mark.parametrize("name", ["xception", "xception_elu_between", "resnet50", "transfer"])
def test_equalized_streams_change_no_float_result(name: str, pixels: UInt8Array) -> None:
    model, whole = known(name)
    graph = without_head(whole)
    photos = photos_for(model, pixels)
    seen = recipe.statistics(graph, photos)
    equal, behind = equalized_streams(graph, seen)
    expected, got = Evaluator(graph).output(photos), Evaluator(equal).output(photos)
    assert np.abs(got - expected).max() <= 1e-3 * max(1.0, float(np.abs(expected).max()))
    scales = {name: seen.scale for name, seen in behind.items() if seen.scale is not None}
    assert scales
    names = tuple(name for name in scales if name != graph.output)
    before, after = (Evaluator(g, names).tensors(photos[:1]) for g in (graph, equal))
    for tensor in names:
        scale = scales[tensor].reshape(1, -1, *[1] * (before[tensor].ndim - 2))
        limit = 1e-3 * float(np.abs(before[tensor]).max()) + 1e-6
        assert np.abs(after[tensor] * scale - before[tensor]).max() <= limit, tensor


def test_streams_of_xception_follow_its_shortcuts() -> None:
    _, graph = known("xception")
    found = streams(graph)
    longest = max(found, key=lambda stream: len(stream.tensors))
    kinds = {type(graph[name]).__name__ for name in longest.tensors}
    assert {"Add", "Activation", "Conv"} <= kinds
    assert all(isinstance(graph[name], Weighted) for stream in found for name in stream.readers)
    tensors = [name for stream in found for name in stream.tensors]
    assert len(tensors) == len(set(tensors))
    assert graph.input.name not in tensors
    assert graph.output not in tensors


def test_adaptive_rounding_beats_the_nearest_where_inputs_vary_together() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4000, 12)) @ rng.normal(size=(12, 64)) + 0.1 * rng.normal(size=(4000, 64))
    kernel = rng.normal(size=(1, 1, 64, 32)).astype(np.float32)
    covariance = np.cov(seen.T)
    nearest = quantize_kernel(kernel, np.zeros(32, np.float32))
    adapted = adaptive_rounding.rounded(kernel, nearest.scales, covariance, noise=0.0)
    assert np.abs(adapted).max() <= 127

    def noise(values: np.ndarray) -> float:
        error = values.reshape(64, 32) * nearest.scales - kernel.reshape(64, 32)
        return float(np.einsum("io,ij,jo->", error, covariance, error))

    assert noise(adapted) < 0.3 * noise(nearest.values)


def test_adaptive_rounding_takes_the_nearest_where_inputs_are_independent() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 8)).astype(np.float32)
    nearest = quantize_kernel(kernel, np.zeros(8, np.float32))
    assert np.array_equal(adaptive_rounding.rounded(kernel, nearest.scales, np.eye(36), noise=0.1), nearest.values)


def test_depthwise_rounding_beats_the_nearest_where_neighbours_are_alike() -> None:
    """Each channel has two filters."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 64)).astype(np.float32)
    seen = rng.normal(size=(32, 500, 1)) + 0.2 * rng.normal(size=(32, 500, 9))
    covariance = np.stack([np.cov(channel.T) for channel in seen])
    nearest = quantize_kernel(kernel, np.arange(64, dtype=np.float32))
    adapted = depthwise_rounding.rounded(kernel, nearest.bias, nearest.scales, covariance, 0.0)
    assert np.abs(adapted.values).max() <= 127
    assert np.array_equal(adapted.bias, nearest.bias)

    def noise(quantized: QuantizedKernel) -> float:
        error = (quantized.values * quantized.scales - kernel).reshape(9, 64)
        return float(sum(error[:, output] @ covariance[output // 2] @ error[:, output] for output in range(64)))

    assert noise(adapted) < 0.1 * noise(nearest)


def test_depthwise_rounding_of_channels_that_hardly_vary() -> None:
    """One is always zero, and the covariance of the others holds nothing but rounding errors."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 12)).astype(np.float32)
    covariance = 1e-6 * rng.normal(size=(12, 9, 9))
    covariance = covariance + covariance.transpose(0, 2, 1)
    covariance[0] = 0
    nearest = quantize_kernel(kernel, np.zeros(12, np.float32))
    adapted = depthwise_rounding.rounded(kernel, nearest.bias, nearest.scales, covariance, 0.0)
    assert np.abs(adapted.values).max() <= 127
    assert np.isfinite(adapted.scales).all()
    first = adapted.values[..., 0] * adapted.scales[0] - kernel[..., 0]
    assert np.abs(first).max() <= adapted.scales[0]


def pair_sums(values: np.ndarray) -> np.ndarray:
    """The sums that PMADDUBSW has to hold at most: neighbouring weights of one sign, each beside the activation 255."""
    inputs, rows = values.shape[-2], values.reshape(-1, values.shape[-1]).astype(int)
    # With an odd number of inputs ONNX Runtime pairs over the flattened kernel, oneDNN within each position.
    pairings = [rows if len(rows) % 2 == 0 else np.concatenate([rows, np.zeros((1, rows.shape[1]), int)])]
    if inputs % 2:
        pixels = values.reshape(-1, inputs, values.shape[-1]).astype(int)
        pairings.append(np.concatenate([pixels, np.zeros((len(pixels), 1, rows.shape[1]), int)], 1))
    found = []
    for pairing in pairings:
        two = pairing.reshape(-1, 2, rows.shape[1])
        found += [np.maximum(two, 0).sum(1), np.maximum(-two, 0).sum(1)]
    return 255 * np.concatenate(found)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 64, 48), (3, 3, 3, 16), (3, 3, 1, 8), (3, 3, 5, 8), (40, 10)],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize("tail", ["normal", "heavy"])
def test_pairs_of_weights_fit_16_bits(shape: tuple[int, ...], tail: str) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=shape) if tail == "normal" else rng.standard_t(2, size=shape)
    kernel = drawn.astype(np.float32)
    nothing = np.zeros(shape[-1], np.float32)
    assert pair_sums(quantize_kernel(kernel, nothing).values).max() > 32767
    fitting = pairs.fitting_scales(kernel)
    assert pair_sums(quantize_kernel(kernel, nothing, fitting).values).max() <= 32767
    # No more of the range is given up than the largest pair needs.
    reach = np.abs(kernel.reshape(-1, shape[-1])).max(0) / 127
    assert (fitting >= reach).all()
    assert (fitting <= 2 * reach).all()
    if len(shape) == 4:
        weights = int(np.prod(shape[:-1]))
        seen = rng.normal(size=(4000, 6)) @ rng.normal(size=(6, weights)) + 0.1 * rng.normal(size=(4000, weights))
        adapted = adaptive_rounding.rounded(kernel, fitting, np.cov(seen.T), noise=0.0, fit_pairs=True)
        assert pair_sums(adapted).max() <= 32767
        if tail == "normal":  # where tails are heavy, the scales alone leave room
            assert pair_sums(adaptive_rounding.rounded(kernel, fitting, np.cov(seen.T), noise=0.0)).max() > 32767


@pytest.mark.parametrize("target", ["onnx", "openvino", "tensorrt"])
def test_int8_of_these_targets_has_fitting_pairs(graph: Graph, photos: np.ndarray, target: str) -> None:
    bare, found = without_head(graph), find_target(target)
    _, plan = recipe.int8(bare, recipe.statistics(bare, photos), rules=found.rules, all_integer=True)
    assert found.rules.pairs
    dense = [kernel.values for name, kernel in plan.kernels.items() if not isinstance(graph[name], Depthwise)]
    assert len(dense) > 10
    assert max(pair_sums(values).max() for values in dense) <= 32767


def test_covariances_are_those_of_what_the_convolution_sees(graph: Graph, photos: np.ndarray) -> None:
    conv = graph["block1_conv2"]
    assert isinstance(conv, Conv)
    assert conv.kernel.shape[:2] == (3, 3)
    bare = without_head(graph)
    source = np.concatenate([Evaluator(bare, (conv.inputs[0],)).tensors(p[None])[conv.inputs[0]] for p in photos])
    height, width, _ = graph.shape(conv.name)
    assert height * width > POSITIONS
    found = calibrate(graph, photos)[conv.inputs[0]].covariances[conv.name]
    rows = [
        source[:, :, y * conv.strides[0] : y * conv.strides[0] + 3, x * conv.strides[1] : x * conv.strides[1] + 3]
        for y in range(height)
        for x in range(width)
    ]
    assert len({row.shape for row in rows}) == 1
    everything = np.concatenate(rows).transpose(0, 2, 3, 1).reshape(-1, found.shape[0])
    expected = np.cov(everything.T, bias=True)
    assert np.abs(found - expected).max() <= 0.35 * np.abs(expected).max()  # a sample of the positions
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95


def test_the_simulator_rounds_as_the_runtime_does(pixels: UInt8Array) -> None:
    """Everything rounded at once is the artifact, up to ties and to float sums in another order.

    A shallow network: in a deep one a single tie changes how everything behind it is rounded.
    """
    model, bare = known("one_channel")
    photos = photos_for(model, pixels)
    equal, plan = recipe.int8(bare, recipe.statistics(bare, photos), rules=Rules(pairs=True))
    simulated = simulator(equal, plan, rounded_tensors(equal, plan), plan.kernels).output(photos)
    artifact = find_target("onnx").convert(equal, Form(precision="int8"), plan)[".onnx"]
    session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    real = np.concatenate([session.run(None, {name: photo.transpose(2, 0, 1)[None]})[0] for photo in photos])
    exact = Evaluator(bare).output(photos)
    assert np.abs(simulated - real).mean() <= 0.25 * np.abs(real - exact).mean()
    assert np.array_equal(simulator(equal, plan, (), ()).output(photos), Evaluator(equal).output(photos))


def test_no_rule_errs_less_than_least_squares(statistics: Statistics) -> None:
    """All rules stay within the extremes, and a percentile keeps its share."""
    for name, seen in statistics.items():
        centres, weights = seen.histogram()
        low, high = min_max_range(seen)
        best = expected_error(centres, weights, *least_squares_range(seen))
        for rule in (percentile_range, entropy_range, min_max_range):
            bounds = rule(seen)
            assert min(low, 0.0) <= bounds[0] <= 0 <= bounds[1] <= max(high, 0.0), name
            # The search walks a grid, which another rule's bound may miss by a little.
            assert best <= 1.1 * expected_error(centres, weights, *bounds), (name, rule)
        kept = percentile_range(seen, 0.9)
        inside = weights[(centres >= kept[0]) & (centres <= kept[1])].sum() / weights.sum()
        assert inside >= 0.89, name


def test_split_channels_are_exact_and_half_as_wide(graph: Graph, photos: np.ndarray, statistics: Statistics) -> None:
    split = split_outliers(graph, statistics, share=0.05)
    exact = Evaluator(graph).output(photos)
    assert np.abs(Evaluator(split).output(photos) - exact).max() <= 1e-5
    wider = [name for name in candidates(graph) if split.shape(name)[-1] > graph.shape(name)[-1]]
    assert wider
    after = calibrate(split, photos)
    for name in wider:
        widths = [seen[name].channel_high - seen[name].channel_low for seen in (statistics, after)]
        assert widths[1].max() < widths[0].max(), name


def test_clipped_weights_err_less_at_the_output() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(1, 1, 200, 5)).astype(np.float32)
    kernel[0, 0, 0, 0] = 30.0  # an outlier on an input that hardly varies
    variance = np.ones(200)
    variance[0] = 1e-6
    whole = quantize_kernel(kernel, np.zeros(5, np.float32))
    scales = clipped_scales(kernel, whole.scales, variance)
    clipped = quantize_kernel(kernel, np.zeros(5, np.float32), scales)
    errors = [((q.values * q.scales - kernel)[0, 0] ** 2 * variance[:, None]).sum(0) for q in (whole, clipped)]
    assert (errors[1] <= errors[0]).all()
    assert scales[0] < whole.scales[0]


def test_moving_averages_depend_on_the_order(graph: Graph, photos: np.ndarray, statistics: Statistics) -> None:
    """Which is why nothing but the comparison uses them."""
    other = calibrate(graph, photos[::-1])
    name = graph.nodes[3].name
    assert moving_average_range(statistics[name]) != moving_average_range(other[name])
    assert min_max_range(statistics[name])[1] >= moving_average_range(statistics[name])[1]


def test_branches_begin_and_end_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branches_module, "SATURATING_RATIO", 0)  # the network is small
    graph = without_head(known("xception")[1])
    in_float = float_by_default(graph)
    branches = dynamic_branches(graph, in_float)
    assert {"block4_sepconv1", "block4_sepconv1/depthwise", "block4_sepconv1_act"} <= branches
    assert not {"block1_conv1", "block1_conv2", graph.input.name} & branches
    for name in branches:
        assert all(source in branches | in_float for source in graph[name].inputs), name
        assert all(reader.name in branches | in_float for reader in graph.consumers(name)), name


def _chain(*, depthwise: bool, activation: str = "relu") -> Graph:
    """Return a network without sums: convolutions of little arithmetic from the photo on."""
    x = source = keras.Input((32, 32, 3))
    for _ in range(3):
        x = layers.Activation(activation)(layers.Conv2D(16, 3, padding="same")(x))
        x = layers.Activation(activation)(layers.DepthwiseConv2D(3, padding="same")(x)) if depthwise else x
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(24, 1, name="last")(x))
    return without_head(read_keras(keras.Model(source, layers.Dense(3)(x))))


def test_convolutions_are_a_branch_from_the_photo_on_unless_they_are_a_chain() -> None:
    assert not [name for name in recipe.branches(_chain(depthwise=False)) if name != "last"]
    x = source = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, activation="relu")(x)
    x = layers.Concatenate()([layers.Conv2D(8, 1)(x), layers.Conv2D(8, 3, padding="same")(x)])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(24, 3)(x))
    graph = without_head(read_keras(keras.Model(source, layers.Dense(3)(x))))
    assert {node.name for node in graph if isinstance(node, Conv)} <= recipe.branches(graph)


def test_depthwise_convolutions_end_a_branch_that_begins_at_the_photo_unless_its_activations_are_slow() -> None:
    assert not [name for name in recipe.branches(_chain(depthwise=True)) if name != "last"]
    graph = _chain(depthwise=True, activation="hard_silu")
    behind = {node.name for node in graph if isinstance(node, Conv)} - front(graph)
    assert front(graph)
    assert behind <= recipe.branches(graph)
    assert not front(graph) & recipe.branches(graph)


@pytest.mark.parametrize(("activation", "dynamic"), [("relu6", False), ("silu", True)])
def test_a_lower_ratio_of_products_is_enough_for_activations_that_do_more_than_saturate(
    activation: str, dynamic: bool
) -> None:
    """The ratio is 2 * 90 / 9 = 20 here."""
    x = source = keras.Input((16, 16, 3))
    x = layers.Conv2D(90, 3)(x)
    for block in range(2):
        y = layers.Activation(activation)(layers.Conv2D(270, 1, name=f"expand{block}")(x))
        y = layers.Activation(activation)(layers.DepthwiseConv2D(3, padding="same")(y))
        x = layers.Add()([x, layers.Conv2D(90, 1)(y)])
    graph = without_head(read_keras(keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))))
    assert ("expand1" in recipe.branches(graph)) == dynamic


def test_concatenations_are_streams_where_every_reader_normalizes_them_first() -> None:
    """As in DenseNet; those of Inception are read by products, which take integers."""
    x = source = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same")(x)
    for block in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate(name=f"stream{block}")([x, layers.Conv2D(4, 3, padding="same")(y)])
    x = layers.Conv2D(8, 1)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Concatenate(name="beside")([layers.Conv2D(4, 1)(x), layers.Conv2D(4, 3, padding="same")(x)])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1)(x))
    graph = without_head(read_keras(keras.Model(source, layers.Dense(3)(x))))
    assert concatenated_streams(graph) == {"stream0", "stream1"}
    assert {"stream0", "stream1"} <= float_by_default(graph)
    assert not {"stream0", "stream1"} & float_by_default(graph, "sums")
    branches = dynamic_branches(graph, float_by_default(graph))
    added = graph["stream1"].inputs[1]
    (normalized,) = graph[added].inputs
    assert graph[normalized].inputs == ("stream0",)
    assert {normalized, added} <= branches


@pytest.mark.parametrize(("width", "dynamic"), [(45, False), (180, True)])
def test_short_branches_of_one_tensor_have_ranges_of_each_photo_unless_depthwise_work_outweighs_their_products(
    width: int, dynamic: bool
) -> None:
    """As in a NASNet: the ratio is a ninth of the width; one tensor is quantized, and three results become floats."""
    x = source = keras.Input((16, 16, 3))
    x = layers.Conv2D(width, 3)(x)
    x = layers.Add()([x, layers.Conv2D(width, 1)(x)])
    read = layers.ReLU()(x)
    apart = [layers.DepthwiseConv2D(3, padding="same", name=f"window{i}")(read) for i in range(3)]
    x = layers.Add()([x, *(layers.Conv2D(width, 1, name=f"products{i}")(one) for i, one in enumerate(apart))])
    graph = without_head(read_keras(keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))))
    inside = {f"{kind}{i}" for kind in ("window", "products") for i in range(3)}
    assert (inside <= recipe.branches(graph)) == dynamic


def test_averages_are_in_float_for_runtimes_that_are_slow_at_them_in_integers(photos: np.ndarray) -> None:
    x = source = keras.Input(photos.shape[1:])
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(8, 1)(layers.AveragePooling2D(2, name="average")(x))
    graph = without_head(read_keras(keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))))
    seen = recipe.statistics(graph, photos)
    for asked, in_float in ((Rules(), False), (Rules(float_averages=True), True)):
        _, plan = recipe.int8(graph, seen, rules=asked)
        assert ("average" in plan.float_nodes) == in_float
    _, plan = recipe.int8(graph, seen, rules=Rules(float_averages=True), all_integer=True)
    assert "average" not in plan.float_nodes


def test_concatenated_sums_that_activations_read_and_averages_before_sums_are_in_float() -> None:
    """As in a NASNet."""
    x = source = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3)(x)
    average = layers.AveragePooling2D(3, strides=1, padding="same", name="average")
    joined = [layers.Add()([x, layers.Conv2D(8, 1)(x)]), layers.Add()([x, average(x)])]
    x = layers.ReLU()(layers.Concatenate(name="joined")(joined))
    x = layers.AveragePooling2D(2, name="between")(layers.Conv2D(8, 1)(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1)(x))
    in_float = float_by_default(without_head(read_keras(keras.Model(source, layers.Dense(3)(x)))))
    assert {"joined", "average"} <= in_float
    assert "between" not in in_float


def test_a_convolution_in_place_of_the_dense_layer_has_integer_products_and_a_float_result() -> None:
    """As MobileNet's, behind an average that keeps height and width."""
    x = source = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="average")(x)
    x = layers.Conv2D(5, 1, name="classes")(x)
    graph = without_head(read_keras(keras.Model(source, layers.Reshape((5,))(x))))
    assert "average" in float_by_default(graph)
    assert "classes" not in float_by_default(graph)
    plan = static_int8(graph, calibrate(graph, np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3))))
    assert plan.gives_float(graph, "classes")
    assert "classes" in recipe.branches(graph)


def test_branches_of_little_arithmetic_stay_with_fixed_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = without_head(known("xception")[1])
    monkeypatch.setattr(branches_module, "SATURATING_RATIO", 10_000)
    monkeypatch.setattr(branches_module, "CONVERTING_RATIO", 10_000)
    left = dynamic_branches(graph, float_by_default(graph))
    assert left  # the convolutions beside the branches, which are alone
    assert all(isinstance(graph[name], Conv) for name in left)


def test_ranges_of_each_photo_are_simulated_as_litert_takes_them(
    graph: Graph, photos: np.ndarray, statistics: Statistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branches_module, "SATURATING_RATIO", 0)  # the network is small
    bare = without_head(graph)
    exact = Evaluator(bare).output(photos)
    errors = {}
    for dynamic in (False, True):
        equal, plan = recipe.int8(bare, statistics, rules=Rules(dynamic_branches=dynamic))
        assert dynamic == any(plan.is_dynamic(name) for name in plan.kernels)
        assert np.abs(Evaluator(equal).output(photos) - exact).max() <= 1e-4 * np.abs(exact).max()
        simulated = simulator(equal, plan, rounded_tensors(equal, plan), plan.kernels).output(photos)
        artifact = tmp_path / f"{dynamic}.tflite"
        artifact.write_bytes(find_target("tflite").convert(equal, Form(precision="int8"), plan)[".tflite"])
        session = choose_runtime(artifact).open(artifact, Settings(threads=1))
        real = np.concatenate([session.run(photo[None]) for photo in photos])
        errors[dynamic] = float(((real - exact) ** 2).mean())
        assert 0.4 <= float(((simulated - exact) ** 2).mean()) / errors[dynamic] <= 2.5
    assert errors[True] < errors[False]


def test_inputs_that_hardly_vary_are_rounded_to_the_nearest() -> None:
    """A covariance of nothing but rounding need not be positive definite."""
    kernel = np.random.default_rng(0).normal(size=(1, 1, 4, 3)).astype(np.float32)
    quantized = quantize_kernel(kernel, np.zeros(3, np.float32))
    got = adaptive_rounding.rounded(kernel, quantized.scales, -np.eye(4), 0.0)
    assert np.array_equal(got, quantized.values)


def test_equalization_keeps_zero_exact_and_evens_ranges(pixels: UInt8Array) -> None:
    """The bias of an equalized filter without a bias is minus its shift: a whole number of steps."""
    model, graph = known("xception")
    seen = recipe.statistics(graph, photos_for(model, pixels))
    equal, behind = equalized(graph, seen, least_squares_range)
    for name in candidates(graph):
        fixed, node = behind[name].fixed, equal[name]
        assert fixed is not None
        assert isinstance(node, Weighted)
        steps = node.bias / Affine.of_range(*fixed).scale
        assert np.abs(steps - np.rint(steps)).max() <= 1e-3
        before, after = (_spread(s[name].channel_low, s[name].channel_high) for s in (seen, behind))
        assert after < before, name


def _spread(low: np.ndarray, high: np.ndarray) -> float:
    """How far the widest channel's range is from the typical one's."""
    width = high - low
    return float(width.max() / np.median(width))


def test_the_order_of_photos_does_not_matter(pixels: UInt8Array) -> None:
    model, graph = known("xception")
    photos = photos_for(model, pixels)
    made = [
        find_target("tflite").convert(*_reordered(recipe.int8(graph, recipe.statistics(graph, photos[order]))))
        for order in (slice(None), slice(None, None, -1), [3, 0, 7, 1, 6, 2, 5, 4])
    ]
    assert made[0] == made[1] == made[2]


def _reordered(quantized: tuple[Graph, Plan]) -> tuple[Graph, Form, Plan]:
    graph, plan = quantized
    return graph, Form(precision="int8"), plan


def test_one_photo_counts_for_at_most_twice_the_next(pixels: UInt8Array) -> None:
    model, graph = known("xception")
    photos = photos_for(model, pixels)
    seen = recipe.statistics(graph, photos)
    broken = recipe.statistics(graph, np.concatenate([photos, photos[:1] * 50]))
    name = "block3_sepconv1/depthwise"
    assert broken[name].high > 5 * seen[name].high
    assert (broken[name].channel_reach <= 2 * seen[name].channel_reach + 1e-6).all()
    assert (broken[name].channel_high <= 2 * np.maximum(seen[name].channel_high, 0) + 1e-6).all()


def test_a_broken_photo_is_not_counted_and_the_order_does_not_matter(pixels: UInt8Array) -> None:
    """A photo with many times the energy of the next changes neither means nor counts nor covariances."""
    model, graph = known("xception")
    photos = photos_for(model, pixels)
    seen = recipe.statistics(graph, photos)
    orders = [[*photos, photos[0] * 50], [photos[0] * 50, *photos], [*photos[:3], photos[0] * 50, *photos[3:]]]
    for name, first in recipe.statistics(graph, orders[0]).items():
        assert np.array_equal(first.mean, seen[name].mean), name
        assert np.array_equal(first.counts, seen[name].counts), name
        for reader, covariance in first.covariances.items():
            assert np.array_equal(covariance, seen[name].covariances[reader]), name
    made = [
        find_target("tflite").convert(*_reordered(recipe.int8(graph, recipe.statistics(graph, order))))
        for order in orders
    ]
    assert made[0] == made[1] == made[2]
    twice = recipe.statistics(graph, [*photos, photos[0]])
    assert not np.array_equal(twice[graph.input.name].counts, seen[graph.input.name].counts)


def test_several_broken_photos_are_not_counted_where_there_are_many_others(pixels: UInt8Array) -> None:
    model, graph = known("xception")
    photos = np.concatenate([photos_for(model, pixels)] * 8)[:60]
    seen = recipe.statistics(graph, photos)
    for broken in (3,):
        bad = photos[:broken] * 50
        for order in ([*photos, *bad], [bad[0], *photos, *bad[1:]]):
            for name, found in recipe.statistics(graph, order).items():
                assert np.array_equal(found.counts, seen[name].counts), name
                assert np.array_equal(found.mean, seen[name].mean), name
                # The most extreme of the other photos, which is left out without broken ones, may count here.
                assert (found.channel_reach <= np.abs([seen[name].low, seen[name].high]).max() + 1e-6).all(), name
    four = recipe.statistics(graph, [*photos, *photos[:4] * 50])
    assert not np.array_equal(four[graph.input.name].counts, seen[graph.input.name].counts)


def _photos_of(classes: tuple[int, ...], count: int) -> list[FloatArray]:
    """Photos in red and green; those of class 1 have one blue pixel."""
    rng, photos = np.random.default_rng(0), []
    for index in range(count):
        photo = rng.uniform(0, 1, (32, 32, 3)).astype(np.float32)
        photo[..., 2] = 0
        photo[index % 32, 3, 2] = classes[index % len(classes)]
        photos.append(photo)
    return photos


def test_ranges_of_one_class_do_not_fit_another_whose_channel_they_clip() -> None:
    """Too few values lie outside the ranges to tell, but the class is told by them."""
    rng = np.random.default_rng(1)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(64, 1, activation="relu"),
            layers.Conv2D(64, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    first, second, _, dense = model.layers
    mixing = rng.normal(0, 0.5, (1, 1, 3, 64))
    mixing[0, 0, :, 0], mixing[0, 0, 2, 1:] = (0, 0, 16), 0
    first.set_weights([mixing, np.zeros(64)])
    second.set_weights([np.eye(64)[None, None], np.zeros(64)])
    dense.set_weights([np.eye(64)[:, :2] * [[-256, 0]], np.array([2, 0])])
    graph = read_keras(model)
    others = _photos_of((0, 1), 16)
    for classes, fits in (((0, 1), True), ((0,), False)):
        seen = recipe.statistics(graph, _photos_of(classes, 60))
        equal, plan = recipe.int8(graph, seen)
        found = coverage(
            equal,
            plan,
            seen,
            calibrate(graph, others, products=False),
            others,
            reference=graph,
            rules=Rules(),
            kind="logits",
        )
        assert found.evaluated <= LEAST, classes
        assert found.fits == fits, (classes, found)
