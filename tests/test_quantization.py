"""Affine arithmetic, calibration and ranges: exact where they claim to be, independent of order, hard to break."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.networks import network, photos_for
from xedge.data import CalibrationSet
from xedge.graph.from_keras import read_keras
from xedge.graph.ir import Conv, Depthwise, Graph, Weighted
from xedge.preprocess import pixels_as_int8, scheme
from xedge.quantization.affine import Affine, quantize_kernel
from xedge.quantization.bias_correction import corrected_bias
from xedge.quantization.calibration import BIN_CENTRES, TensorStatistics, calibrate
from xedge.quantization.ranges import least_squares_range
from xedge.quantization.static import Statistics, static_int8, takes_exact_pixels

ranges = st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)).filter(lambda r: r[0] != r[1])


@given(ranges)
def test_zero_is_held_exactly(bounds: tuple[float, float]) -> None:
    affine = Affine.of_range(min(bounds), max(bounds))
    zero = affine.quantize(np.zeros(1, np.float32))
    assert affine.dequantize(zero)[0] == 0


@given(ranges, st.floats(0, 1))
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
        with pytest.raises(ValueError, match="no int8 parameters"):
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
    return read_keras(network("xception"))


@pytest.fixture(scope="module")
def photos(pixels: np.ndarray) -> np.ndarray:
    return photos_for(network("xception"), pixels)


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
    broken = TensorStatistics(counts=counts, low=seen.low, high=50 * seen.high, mean=seen.mean)
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
    assert takes_exact_pixels(graph)
    preprocessing = scheme("tf", 71, 71, 3)
    plan = static_int8(graph, statistics, pixel=preprocessing.pixel)
    pixels = np.arange(256, dtype=np.uint8)
    photo = preprocessing.scaled(pixels)
    held = plan.activations[graph.input.name].quantize(photo + np.float32(plan.input_shift))
    assert np.array_equal(held, pixels_as_int8(pixels))
    assert np.array_equal(held.astype(int), pixels.astype(int) - 128)


def test_padding_rules_the_exact_input_out() -> None:
    assert not takes_exact_pixels(read_keras(network("resnet50")))


def test_calibration_sets_hash_their_contents_in_any_order(calibration: CalibrationSet) -> None:
    files = list(calibration.photos)
    turned = CalibrationSet(source="turned", photos=files[::-1])
    assert turned.digest() == calibration.digest()
    assert CalibrationSet(source="fewer", photos=files[1:]).digest() != calibration.digest()
