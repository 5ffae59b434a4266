"""Begin a file of budgets: ask the model and the photos, and say in comments what they do not tell."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from math import ceil, floor
from pathlib import Path
from typing import Any

from xedge.checking.config import OPTIONS, PATHS
from xedge.conversion.options import ConvertOptions
from xedge.conversion.reference import LibraryReference
from xedge.conversion.request import Request, resolved
from xedge.conversion.stages import Stages
from xedge.conversion.subject import Subject, chosen_scheme, read_subject
from xedge.converters import find_target
from xedge.errors import UnsupportedError
from xedge.metrics import paired_interval, wilson
from xedge.untrusted import one_line
from xedge.vocabulary import BUILT_IN, COMPACT, SCHEME_FILES, Precision

# The shares of photos whose first class quantization may change, and of those that it may make wrong: a budget is set
# so that the photos at hand can show it for a model that loses no more.
CHANGED, MADE_WRONG = 0.015, 0.0075
AGREEMENT_PERCENT, DROP_POINTS, TOTAL_VARIATION = 97, 1.0, 0.05
WEIGHT_BYTES: dict[Precision, float] = {"fp32": 4, "fp16": 2, "dynamic": 1, "int8": 1, "w4": 0.55}
# What files hold besides weights: their structure and the ranges.
SIZE_MARGIN, SIZE_BASE_MB = 1.15, 0.1
MOST_LABELS_SHOWN = 5


def draft(options: ConvertOptions, file: Path) -> str:
    """Return the text of a file for a model and its photos.

    Args:
        options: The model, the photos, and what is known about them, as for ``convert``.
        file: Where the text will lie; paths in it are relative to its folder.

    Raises:
        XedgeError: The model or the photos cannot be read, or do not belong together.
    """
    with ExitStack() as stack:
        request = resolved(options, stack)
        request.check()
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        subject = read_subject(request, scratch, Stages(report=options.report, progress=options.progress))
        lines = [*_top(subject, file), "", *_convert(request, subject, file), "", *_budget(subject)]
        # What a model says of itself stands in comments, which end with their line.
        return "".join(f"{one_line(line)}\n" for line in lines)


def _top(subject: Subject, file: Path) -> Iterator[str]:
    request, reference = subject.request, subject.reference
    shape = "x".join(map(str, reference.input_shape))
    yield "# What `xedge check` makes of the model, and what the bundles have to keep. `xedge init` began this file."
    yield "# Paths are relative to it."
    yield ""
    if request.source.embedded:
        yield f'model = "{COMPACT}"  # the compact Xception that comes with xedge'
    else:
        yield _key("model", _model(request, file))
    size = f", {reference.size_reason}" if reference.size_reason else ""
    weights = f"{reference.parameters / 1e6:.2f} M weights"
    yield f"# It takes photos of {shape}{size}, has {reference.classes} classes, {weights}."
    for name in PATHS:
        yield from _place(name, subject, file)
    yield ""
    yield from _targets(subject)
    yield f"precisions = {json.dumps(list(request.precisions))}"


def _targets(subject: Subject) -> Iterator[str]:
    """Yield the targets that the model can be converted to, and why others are left out."""
    reference, able = subject.reference, []
    for name in subject.request.targets:
        try:
            if isinstance(reference, LibraryReference):
                reference.route.words(find_target(name))
            able.append(name)
        except UnsupportedError as error:
            yield f"# Not {name}: {one_line(str(error))}."
    yield _key("targets", able)


def _model(request: Request, file: Path) -> str:
    name = str(request.options.model)
    return name if name in BUILT_IN else _relative(name, file)


def _place(name: str, subject: Subject, file: Path) -> Iterator[str]:
    """Yield a key with a path, or a comment that says what follows if it is left out."""
    given = getattr(subject.request.options, name, None)
    if given is not None:
        yield _key(name, _relative(given, file))
    elif name == "data" and subject.photos is None:
        yield '# data = "..."  # Labelled photos were not named; without them, accuracy cannot be checked.'
    elif name == "calibration":
        yield '# calibration = "..."  # Photos like those in use, for int8; without them, xedge takes its own.'
    elif name == "labels":
        yield _labels(subject)
    elif name == "baseline":
        yield '# baseline = "..."  # The bundle, or the folder of bundles, that you released last.'


def _labels(subject: Subject) -> str:
    if not subject.labels_known:
        return '# labels = "..."  # The names of the classes could not be found out; without a file, they are numbers.'
    more = ", ..." if len(subject.labels) > MOST_LABELS_SHOWN else ""
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in subject.labels[:MOST_LABELS_SHOWN])
    where = "model" if subject.request.source.embedded else "class folders"
    return f'# labels = "..."  # As in the {where}: {names}{more}. Give a file for another order.'


def _convert(request: Request, subject: Subject, file: Path) -> Iterator[str]:
    name, reason = chosen_scheme(request, subject.reference)
    yield "[convert]"
    yield f"# How photos are prepared: {reason}."
    # What is only assumed stays open, so that convert tries other schemes as soon as there are photos to try them on.
    tells = request.options.preprocess or request.source.scheme or subject.reference.scheme
    yield ("" if tells or subject.photos is not None else "# ") + _key("preprocess", _scheme(name, file))
    for option in OPTIONS:
        value = getattr(request.options, option)
        if option != "preprocess" and value != ConvertOptions.__dataclass_fields__[option].default:
            path = option == "weights" and value != "imagenet"
            yield _key(option, _relative(value, file) if path else value)


def _scheme(name: str, file: Path) -> str:
    kind, colon, path = name.partition(":")
    return f"{kind}:{_relative(path, file)}" if colon and kind in SCHEME_FILES else name


def _budget(subject: Subject) -> Iterator[str]:
    yield "[budget]"
    if subject.photos is None:
        yield "# Labelled photos were not named, so that these cannot be judged:"
        yield f"# max_drop_points = {DROP_POINTS}"
        yield f"# min_agreement_percent = {AGREEMENT_PERCENT}"
    else:
        yield from _accuracy(len(subject.photos.files))
    yield "# How many times as long as the baseline's an inference may take; it needs a baseline."
    yield "# max_latency_ratio = 1.1"
    yield "# The points of top-1 accuracy that a bundle may lose against the baseline; it needs a baseline and photos."
    yield "# max_baseline_drop_points = 1.0"
    for precision in subject.request.precisions:
        each = WEIGHT_BYTES[precision]
        size = SIZE_MARGIN * subject.reference.parameters * each / 1e6 + SIZE_BASE_MB
        yield ""
        yield f"[budget.{precision}]"
        more = f"{100 * SIZE_MARGIN - 100:.0f} % and {SIZE_BASE_MB:g} MB more"
        yield f"# In MB of 1,000,000 bytes: {8 * each} bits for each weight, and {more}."
        yield f"max_size_mb = {ceil(10 * size) / 10}"


def _accuracy(photos: int) -> Iterator[str]:
    drop, agreement = provable_drop(photos), provable_agreement(photos)
    yield "# The points of top-1 accuracy that a bundle may lose against the model in float. Its whole 95 %"
    yield f"# interval has to lie within; {photos} photos can show {drop:g} if {100 * MADE_WRONG:g} % become wrong and"
    yield "# as many right."
    yield f"max_drop_points = {drop}"
    yield f"# The photos, in percent, whose first class has to stay that of the model in float; {photos} photos can"
    yield f"# show {agreement} if {100 * CHANGED:g} % change."
    yield f"min_agreement_percent = {agreement}"
    yield "# How far the probabilities may move on average: 0 is not at all, 1 is the farthest."
    yield f"max_total_variation = {TOTAL_VARIATION}"


def provable_drop(photos: int) -> float:
    """Return the least limit on the drop, in points, that so many photos can show; at least ``DROP_POINTS``."""
    changed = max(1, round(MADE_WRONG * photos)) if photos > 1 else 0
    _, high = paired_interval(changed, changed, photos)
    return max(DROP_POINTS, ceil(200 * high) / 2)


def provable_agreement(photos: int) -> int:
    """Return the greatest limit on agreement, in percent, that so many photos can show; up to ``AGREEMENT_PERCENT``."""
    low, _ = wilson(photos - round(CHANGED * photos), photos)
    return min(AGREEMENT_PERCENT, floor(100 * low))


def _key(name: str, value: Any) -> str:
    """Return a line of TOML; its basic strings are written as those of JSON, but for the character DEL."""
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return f"{name} = {text}".replace("\x7f", "\\u007f")


def _relative(path: str | Path, file: Path) -> str:
    return str(path) if "://" in str(path) else os.path.relpath(path, file.parent)
