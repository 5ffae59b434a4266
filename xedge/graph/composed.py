"""Activations that no format has in one operator, made of other operations."""

from __future__ import annotations

from math import pi, sqrt
from typing import TYPE_CHECKING

from xedge.errors import UnsupportedError
from xedge.types import FloatArray

if TYPE_CHECKING:
    from xedge.graph.builder import Builder


def relu_from(builder: Builder, name: str, tensor: str, maximum: float | None, slope: float, threshold: float) -> str:
    """min(x, maximum) from the threshold on, and slope * (x - threshold) below it."""
    passed = tensor if maximum is None else builder.elementwise("minimum", f"{name}/bounded", tensor, maximum)
    passed = builder.elementwise("multiply", f"{name}/passed", passed, reached(builder, name, tensor, threshold))
    if not slope:
        return passed
    below = builder.elementwise("minimum", f"{name}/below", tensor, threshold)
    below = builder.elementwise("subtract", f"{name}/distance", below, threshold)
    return builder.elementwise("add", name, passed, builder.elementwise("multiply", f"{name}/slope", below, slope))


def reached(builder: Builder, name: str, tensor: str, threshold: float) -> str:
    """1 where a tensor is at least a threshold, and 0 elsewhere."""
    moved = builder.elementwise("subtract", f"{name}/moved", tensor, threshold)
    step = builder.elementwise("add", f"{name}/step", builder.unary("sign", f"{name}/sign", moved), 1.0)
    return builder.elementwise("minimum", f"{name}/reached", step, 1.0)


def exceeded(builder: Builder, name: str, tensor: str, threshold: float) -> str:
    """1 where a tensor is more than a threshold, and 0 elsewhere."""
    moved = builder.elementwise("subtract", f"{name}/moved", tensor, threshold)
    return builder.elementwise("maximum", f"{name}/exceeded", builder.unary("sign", f"{name}/sign", moved), 0.0)


def leaky(builder: Builder, name: str, tensor: str, slope: float | FloatArray) -> str:
    """max(x, 0) + slope * min(x, 0)."""
    negative = builder.elementwise("minimum", f"{name}/negative", tensor, 0.0)
    scaled = builder.elementwise("multiply", f"{name}/scaled", negative, slope)
    positive = builder.activation("relu", tensor, f"{name}/positive")
    return builder.elementwise("add", name, positive, scaled)


def elu(builder: Builder, name: str, tensor: str, alpha: float, scale: float = 1.0, rate: float = 1.0) -> str:
    """Add scale * (max(x, 0) + alpha * (exp(min(x, 0) * rate) - 1)) and return the name of its result."""
    negative = builder.elementwise("minimum", f"{name}/negative", tensor, 0.0)
    if rate != 1.0:
        negative = builder.elementwise("multiply", f"{name}/rate", negative, rate)
    curve = builder.elementwise("subtract", f"{name}/curve", builder.unary("exp", f"{name}/exp", negative), 1.0)
    curve = builder.elementwise("multiply", f"{name}/scaled", curve, scale * alpha)
    positive = builder.activation("relu", tensor, f"{name}/positive")
    if scale != 1.0:
        positive = builder.elementwise("multiply", f"{name}/scaled_positive", positive, scale)
    return builder.elementwise("add", name, positive, curve)


def _selu(builder: Builder, name: str, tensor: str) -> str:
    """Klambauer et al., "Self-Normalizing Neural Networks", 2017, equation 2."""
    return elu(builder, name, tensor, 1.6732632423543772, 1.0507009873554805)


def celu(builder: Builder, name: str, tensor: str, alpha: float = 1.0) -> str:
    """Barron, "Continuously Differentiable Exponential Linear Units", 2017."""
    return elu(builder, name, tensor, alpha, rate=1 / alpha)


def _softplus(builder: Builder, name: str, tensor: str) -> str:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    away = builder.unary("negative", f"{name}/away", builder.unary("abs", f"{name}/abs", tensor))
    grown = builder.elementwise("add", f"{name}/grown", builder.unary("exp", f"{name}/exp", away), 1.0)
    positive = builder.activation("relu", tensor, f"{name}/positive")
    return builder.elementwise("add", name, positive, builder.unary("log", f"{name}/log", grown))


def _log_sigmoid(builder: Builder, name: str, tensor: str) -> str:
    """log(sigmoid(x)), which is -softplus(-x)."""
    away = builder.unary("negative", f"{name}/mirrored", tensor)
    return builder.unary("negative", name, _softplus(builder, f"{name}/softplus", away))


def _mish(builder: Builder, name: str, tensor: str) -> str:
    """X * tanh(softplus(x)); Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019."""
    gate = builder.activation("tanh", _softplus(builder, f"{name}/softplus", tensor), f"{name}/gate")
    return builder.elementwise("multiply", name, tensor, gate)


def _softsign(builder: Builder, name: str, tensor: str) -> str:
    """X / (1 + |x|)."""
    size = builder.elementwise("add", f"{name}/size", builder.unary("abs", f"{name}/abs", tensor), 1.0)
    return builder.elementwise("divide", name, tensor, size)


def between(builder: Builder, name: str, tensor: str, low: float, high: float) -> str:
    """Add a cut of the values to [low, high] and return the name of its result."""
    return builder.elementwise("maximum", name, builder.elementwise("minimum", f"{name}/high", tensor, high), low)


def _hard_tanh(builder: Builder, name: str, tensor: str) -> str:
    """The value, cut to [-1, 1]."""
    return between(builder, name, tensor, -1.0, 1.0)


def _exponential(builder: Builder, name: str, tensor: str) -> str:
    return builder.unary("exp", name, tensor)


def _tanh_shrink(builder: Builder, name: str, tensor: str) -> str:
    """X - tanh(x)."""
    return builder.elementwise("subtract", name, tensor, builder.activation("tanh", tensor, f"{name}/tanh"))


def soft_shrink(builder: Builder, name: str, tensor: str, threshold: float = 0.5) -> str:
    """X without its part in [-threshold, threshold]."""
    middle = between(builder, f"{name}/middle", tensor, -threshold, threshold)
    return builder.elementwise("subtract", name, tensor, middle)


def hard_shrink(builder: Builder, name: str, tensor: str, threshold: float = 0.5) -> str:
    """X outside of [-threshold, threshold], and 0 inside."""
    size = builder.unary("abs", f"{name}/abs", tensor)
    return builder.elementwise("multiply", name, tensor, exceeded(builder, name, size, threshold))


def squareplus(builder: Builder, name: str, tensor: str, b: float = 4.0) -> str:
    """(x + sqrt(x^2 + b)) / 2; Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", 2021."""
    square = builder.elementwise("multiply", f"{name}/square", tensor, tensor)
    root = builder.unary("sqrt", f"{name}/root", builder.elementwise("add", f"{name}/under", square, b))
    return builder.elementwise("multiply", name, builder.elementwise("add", f"{name}/sum", tensor, root), 0.5)


def _sparse_plus(builder: Builder, name: str, tensor: str) -> str:
    """0 up to -1, (x + 1)^2 / 4 up to 1, and x from there on."""
    middle = builder.elementwise("add", f"{name}/moved", between(builder, f"{name}/middle", tensor, -1.0, 1.0), 1.0)
    square = builder.elementwise("multiply", f"{name}/square", middle, middle)
    quarter = builder.elementwise("multiply", f"{name}/quarter", square, 0.25)
    over = builder.activation("relu", builder.elementwise("subtract", f"{name}/over", tensor, 1.0), f"{name}/above")
    return builder.elementwise("add", name, quarter, over)


def _sparse_sigmoid(builder: Builder, name: str, tensor: str) -> str:
    """(x + 1) / 2, cut to [0, 1]."""
    middle = builder.elementwise("add", f"{name}/moved", between(builder, f"{name}/middle", tensor, -1.0, 1.0), 1.0)
    return builder.elementwise("multiply", name, middle, 0.5)


def gelu_by_tanh(builder: Builder, name: str, tensor: str) -> str:
    """Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, section 2."""
    square = builder.elementwise("multiply", f"{name}/square", tensor, tensor)
    factor = builder.elementwise("multiply", f"{name}/factor", square, 0.044715 * sqrt(2 / pi))
    factor = builder.elementwise("add", f"{name}/growing", factor, sqrt(2 / pi))
    inner = builder.elementwise("multiply", f"{name}/inner", tensor, factor)
    gate = builder.elementwise("add", f"{name}/gate", builder.activation("tanh", inner, f"{name}/tanh"), 1.0)
    half = builder.elementwise("multiply", f"{name}/half", tensor, 0.5)
    return builder.elementwise("multiply", name, half, gate)


def _log_softmax(builder: Builder, name: str, tensor: str) -> str:
    """The logarithm of the softmax over the last axis."""
    return builder.unary("log", name, builder.activation("softmax", tensor, f"{name}/softmax"))


def power(builder: Builder, name: str, tensor: str, exponent: float) -> str:
    """Add a whole power from -2 to 4, or a square root, and return the name of its result.

    Raises:
        UnsupportedError: The exponent is another one.
    """
    if exponent in (0.5, -0.5):
        root = builder.unary("sqrt", f"{name}/root" if exponent < 0 else name, tensor)
        return builder.elementwise("divide", name, 1.0, root) if exponent < 0 else root
    if exponent not in (-2.0, -1.0, 1.0, 2.0, 3.0, 4.0):
        raise UnsupportedError(f"{name}: the power {exponent:g} is not in the reference graph's set")
    result, times = tensor, int(abs(exponent))
    for step in range(2, times + 1):
        last = step == times and exponent > 0
        result = builder.elementwise("multiply", name if last else f"{name}/{step}", result, tensor)
    return result if exponent > 0 else builder.elementwise("divide", name, 1.0, result)


# Activations that are made of other operations.
COMPOSED = {
    "selu": _selu,
    "celu": celu,
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "mish": _mish,
    "softsign": _softsign,
    "hard_tanh": _hard_tanh,
    "exponential": _exponential,
    "tanh_shrink": _tanh_shrink,
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "squareplus": squareplus,
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": _sparse_sigmoid,
    "log_softmax": _log_softmax,
}
