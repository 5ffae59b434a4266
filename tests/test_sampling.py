"""What calibration takes of tensors inside the session is what whole tensors have."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tests.networks import known
from tests.popular import POPULAR, popular
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import is_last_softmax
from xedge.graph.ir import Conv, Depthwise, Graph
from xedge.quantization.products import DEPTHWISE_POSITIONS, POSITIONS, products_of_readers
from xedge.quantization.sampling import VALUES_PER_PHOTO, Sampler
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray


@pytest.mark.parametrize("name", POPULAR)
def test_every_operation_can_be_sampled(name: str) -> None:
    graph = read_keras(popular(name))
    photo = np.random.default_rng(1).uniform(-1, 1, graph.input.shape).astype(np.float32)
    assert_samples_are_right(graph, photo)


def test_patches_are_those_that_convolutions_read() -> None:
    """Of a network whose convolutions have strides and padding of every kind."""
    graph = known("padded")[1]
    photo = np.random.default_rng(1).uniform(-1, 1, graph.input.shape).astype(np.float32)
    checked = assert_samples_are_right(graph, photo)
    assert {conv.strides for conv in checked} >= {(1, 1), (2, 2)}
    assert any(any(map(any, conv.padding)) for conv in checked)


def assert_samples_are_right(graph: Graph, photo: FloatArray) -> list[Conv | Depthwise]:
    """Compare every sample with the whole tensor, and return the convolutions whose patches were compared."""
    names = [node.name for node in graph if not is_last_softmax(graph, node)]
    products = {name: products_of_readers(graph, name) for name in names}
    samples = Sampler(graph, products).samples(photo)
    tensors = Evaluator(graph, tuple(names)).tensors(photo[None])
    checked = []
    for name in names:
        whole = tensors[name][0].reshape(len(tensors[name][0]), -1)
        sample = samples[name]
        np.testing.assert_allclose(sample.least, whole.min(1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(sample.most, whole.max(1), rtol=1e-4, atol=1e-5)
        stride = max(1, whole.size // VALUES_PER_PHOTO)
        np.testing.assert_allclose(sample.rows, whole[:, ::stride], rtol=1e-4, atol=1e-5)
        for one, patches in zip(products[name], sample.patches, strict=True):
            conv = graph[one.reader]
            assert isinstance(conv, Conv | Depthwise)
            read = patches_of(graph, conv, tensors[name][0])
            np.testing.assert_allclose(patches, read, rtol=1e-4, atol=1e-5)
            checked.append(conv)
    return checked


def patches_of(graph: Graph, conv: Conv | Depthwise, tensor: FloatArray) -> FloatArray:
    """Return the inputs (inputs, positions) of the outputs that are sampled, one output after another."""
    padded = np.pad(tensor, ((0, 0), *conv.padding))
    columns = []
    for row, column in sampled(graph, conv, padded.shape):
        taps = product(range(conv.kernel.shape[0]), range(conv.kernel.shape[1]))
        top, left = row * conv.strides[0], column * conv.strides[1]
        read = [padded[:, top + y * conv.dilation[0], left + x * conv.dilation[1]] for y, x in taps]
        columns.append(np.concatenate(read))
    return np.stack(columns, axis=1)


def sampled(graph: Graph, conv: Conv | Depthwise, padded: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the rows and columns of the outputs that are sampled; those of depthwise ones read no padding."""
    height, width, _ = graph.shape(conv.name)
    outputs = list(product(range(height), range(width)))
    if isinstance(conv, Depthwise):
        (top, bottom), (left, right) = conv.padding
        kept = [
            (row, column)
            for row, column in outputs
            if row * conv.strides[0] >= top
            and column * conv.strides[1] >= left
            and row * conv.strides[0] + conv.window[0] <= padded[1] - bottom
            and column * conv.strides[1] + conv.window[1] <= padded[2] - right
        ]
        outputs = kept or outputs
    count = DEPTHWISE_POSITIONS if isinstance(conv, Depthwise) else POSITIONS
    return [outputs[place] for place in np.sort(np.random.default_rng(0).permutation(len(outputs))[:count])]
