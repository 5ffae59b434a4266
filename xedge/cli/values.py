"""What stands behind options: text to values, each refusal one line."""

from __future__ import annotations

from xedge.converters import target_names
from xedge.errors import UsageError
from xedge.vocabulary import Batch, precision_names, ranges_names, scheme_name

__all__ = [
    "precision_names",
    "ranges_names",
    "scheme_name",
    "target_names",
]  # also what text on the command line becomes


def one_target(text: str) -> str:
    """Return a single target."""
    names = target_names(text)
    if len(names) != 1:
        raise UsageError(f"{text!r} names {len(names)} targets; one is analyzed at a time")
    return names[0]


def positive(text: str) -> int:
    """Return a whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"{text!r} is not a positive whole number")
    return int(text)


def whole(text: str) -> int:
    """Return a whole number from 0."""
    if not text.isdigit():
        raise UsageError(f"{text!r} is not a whole number from 0")
    return int(text)


def port(text: str) -> int:
    """Return the number of a port; 0 stands for any free one."""
    if not text.isdigit() or int(text) > 65535:
        raise UsageError(f"{text!r} is not a port; give a whole number from 0 to 65535")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Return a height and a width, such as 224x160; one number stands for both."""
    height, _, width = text.lower().partition("x")
    numbers = [height, width if "x" in text.lower() else height]
    if not all(one.isdigit() and int(one) > 0 for one in numbers):
        raise UsageError(f"{text!r} is not a size of photos; say 224x224")
    return int(numbers[0]), int(numbers[1])


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Return several heights and widths with commas between them."""
    return tuple(dict.fromkeys(size(one.strip()) for one in text.split(",")))


def batch(text: str) -> Batch:
    """Return ``dynamic``, or a whole number from 1."""
    return "dynamic" if text == "dynamic" else positive(text)


def _bounded(text: str, most: float, what: str) -> float:
    """Return a number from 0 to ``most``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise UsageError(f"{text!r} is not {what} from 0 to {most:g}")
    return value


def percent(text: str) -> float:
    """Return a percentage."""
    return _bounded(text, 100, "a percentage")


def share(text: str) -> float:
    """Return a percentage as a share from 0 to 1; what looks like a share already is refused."""
    value = percent(text)
    if 0 < value <= 1:
        raise UsageError(f"{text} means {value:g} % here; did you mean {100 * value:g}?")
    return value / 100


def probability(text: str) -> float:
    """Return a probability."""
    return _bounded(text, 1, "a probability")


def points(text: str) -> float:
    """Return percentage points."""
    return _bounded(text, 100, "a number of percentage points")


def rate(text: str) -> float:
    """Return frames per second."""
    rate = _bounded(text, 100_000, "a number of frames per second")
    if not rate:
        raise UsageError("0 frames per second: no frame would ever come")
    return rate


def seconds(text: str) -> float:
    """Return a duration such as 30s, 10m or 1h in seconds."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        value = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{text!r} is not a duration; say 30s, 10m or 1h")
    return value


def cooldown(text: str) -> tuple[str, float]:
    """Return what to wait for: the field of a ``Cooldown`` and its value."""
    if text[-1:] in ("C", "c"):
        return "temperature_c", _bounded(text[:-1], 120, "a temperature in degrees Celsius")
    return "seconds", seconds(text)
