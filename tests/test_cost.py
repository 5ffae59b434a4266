"""Costs against another count: TensorFlow's profiler, which reads the operations of its own graph."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Command
from xedge.inspection.costing import cost
from xedge.models.xception import Intermediate, Order, XceptionConfig, xception
from xedge.sources.keras.layers import read_keras


def flops_of_products(model: Any) -> int:
    """Floating-point operations of convolutions and matrix products: two for each multiply-accumulate."""
    import tensorflow as tf
    from tensorflow.python.framework import ops
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda photo: model(photo, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    total = 0
    for operation in frozen.graph.get_operations():
        if operation.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            total += ops.get_stats_for_node_def(frozen.graph, operation.node_def, "flops").value
    return total


@pytest.mark.parametrize("name", ["xception", "inception_v3", "resnet50"])
def test_multiply_accumulates_are_tensorflows(name: str) -> None:
    from xedge.models.zoo import NETWORKS

    model = NETWORKS[name].build()
    found = cost(read_keras(model))
    assert 2 * found.total.multiply_accumulates == flops_of_products(model)
    # Folding leaves a kernel and a bias of each normalized convolution; Keras counts four vectors beside the kernel.
    kernels = sum(weight.size for weight in (v.numpy() for v in model.weights) if weight.ndim > 1)
    assert 0 <= found.total.parameters - kernels <= 0.01 * kernels


@pytest.mark.parametrize("order", ["depthwise_first", "pointwise_first"])
@pytest.mark.parametrize("intermediate", ["none", "relu"])
def test_ordinary_convolutions_cost_what_a_network_with_them_does(order: Order, intermediate: Intermediate) -> None:
    """At a quarter of the width, which builds faster: the counts are exact at any."""
    small: dict[str, Any] = {"input_shape": (71, 71, 3), "width_multiplier": 0.25}
    separable = xception(XceptionConfig(**small, order=order, intermediate=intermediate))
    ordinary = xception(XceptionConfig(**small, convolution="ordinary"))
    found, expected = cost(read_keras(separable)), cost(read_keras(ordinary))
    assert found.ordinary == expected.total == expected.ordinary
    pairs = [layer.separable for layer in found.layers if layer.separable is not None]
    assert len(pairs) == 34
    assert all(pair.ratio == pytest.approx(pair.formula) for pair in pairs)


@pytest.mark.slow
def test_the_command(xedge: Command) -> None:
    done = xedge("cost", "--compare", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["network"]: one for one in json.loads(done.stdout)}
    assert list(found) == ["xception", "inception_v3", "resnet50"]
    assert found["resnet50"]["ordinary"] == found["resnet50"]["total"]
    done = xedge("cost", "--top", 5)
    assert done.returncode == 0, done.stderr
    assert "1/N + 1/d^2" in done.stdout
