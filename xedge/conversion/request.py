"""What a user asks for, resolved: the model that was found, the targets and precisions by their names."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xedge.conversion.data_config import DataConfig, read_data_config
from xedge.conversion.options import ConvertOptions
from xedge.converters import Form, Target, target_names, targets
from xedge.errors import InputError, UsageError, parameter
from xedge.photos.reading import check_named
from xedge.quantization.gate import Budget
from xedge.sources import Source
from xedge.sources.finding import find_source
from xedge.vocabulary import Precision, Ranges, board_ranges, precision_names, ranges_names


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks ``convert`` for.

    Args:
        source: The model.
        targets: The names of the targets; each pair of target and precision becomes a bundle.
        precisions: The precisions.
        options: Everything else, as the user gave it.
        data_config: What the file says that the option ``preprocess`` names; None if it names none.
    """

    source: Source
    targets: tuple[str, ...]
    precisions: tuple[Precision, ...]
    options: ConvertOptions
    data_config: DataConfig | None = None

    @property
    def budget(self) -> Budget:
        """What int8 may cost; without demands the recipe is taken as it is."""
        options = self.options
        return Budget(
            max_drop_points=options.max_drop_points, min_agreement=options.min_agreement, time_s=options.time_budget_s
        )

    def check(self) -> None:
        """Fail on what can be seen wrong before the model is read.

        Raises:
            InputError: A file or folder does not exist, or a number is out of range.
            UsageError: Options do not fit together.
        """
        options = self.options
        for folder in (options.data, options.calibration, options.selection):
            if folder is not None:
                check_named(folder)
        if options.labels is not None and not Path(options.labels).is_file():
            raise InputError(f"{options.labels}: there is no such file of labels")
        if options.calibration_count < 1:
            raise InputError(f"{parameter('calibration_count')} {options.calibration_count}: give at least 1")
        if options.pixels and options.io != "float32":
            raise UsageError(
                f"{parameter('pixels')} and {parameter('io')} {options.io} both say what the artifact takes; "
                "choose one of them"
            )
        if options.resize == "keras" and options.crop == "scale":
            raise UsageError(
                f"{parameter('resize')} keras and {parameter('crop')} scale: Keras cuts no centre after it has resized "
                "photos; leave out one of them"
            )
        self._check_arithmetic()
        self._check_ranges()
        self._check_idle()
        if self.budget.demands and "int8" not in self.precisions:
            raise UsageError(
                f"{parameter('max_drop_points')} and {parameter('min_agreement')} are budgets of int8; add int8 to "
                f"{parameter('precision')}"
            )

    def _check_idle(self) -> None:
        """Refuse what has no effect without another option."""
        options = self.options
        if options.truth is not None and options.data is None:
            raise UsageError(f"{parameter('truth')} is about the photos of {parameter('data')}; give them too")
        if options.io != "float32" and "int8" not in self.precisions:
            raise UsageError(f"{parameter('io')} {options.io} is about int8; add int8 to {parameter('precision')}")
        for name in () if self.budget.demands else ("time_budget_s", "selection", "selection_count"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"{parameter(name)} is about a budget; give {parameter('max_drop_points')} or "
                    f"{parameter('min_agreement')} too"
                )

    def _check_arithmetic(self) -> None:
        """Refuse a choice of arithmetic that would have no effect."""
        if self.options.arithmetic is None:
            return
        named = f"{parameter('arithmetic')} {self.options.arithmetic}"
        offering = [target.name for target in targets() if _offers_half(target)]
        if not set(offering) & set(self.targets):
            raise UsageError(
                f"{named} is for {', '.join(offering)}; {', '.join(self.targets)} computes in float16 without it where "
                "it can, so leave it out"
            )
        if "fp16" not in self.precisions:
            raise UsageError(f"{named} is about fp16; add fp16 to {parameter('precision')}")

    def _check_ranges(self) -> None:
        """Refuse a choice of ranges that would have no effect, or that is made twice."""
        options = self.options
        ranges = chosen_ranges(options)
        if ranges is None:
            return
        named = parameter("ranges") if options.ranges is not None else parameter("board")
        if options.ranges is not None and options.board is not None:
            raise UsageError(f"{parameter('board')} chooses {parameter('ranges')}; give one of them")
        if "int8" not in self.precisions:
            raise UsageError(f"{named} is about int8; add int8 to {parameter('precision')}")
        if "photo" not in ranges:
            return
        offering = [target.name for target in targets() if "photo" in target.ranges]
        if not set(offering) & set(self.targets):
            raise UsageError(
                f"{named}: ranges of each photo are for {', '.join(offering)}; {', '.join(self.targets)} has fixed "
                "ranges"
            )
        if options.io != "float32":
            raise UsageError(
                f"{named}: ranges of each photo need float ends; leave out {parameter('io')} {options.io}, or take "
                "fixed ranges"
            )


def chosen_ranges(options: ConvertOptions) -> tuple[Ranges, ...] | None:
    """Return where the ranges of int8 come from, as the user or the board says; None leaves it to each target.

    Raises:
        UsageError: There are no such ranges, or there is no such board.
    """
    if options.ranges is not None:
        return ranges_names(options.ranges)
    return None if options.board is None else (board_ranges(options.board),)


def _offers_half(target: Target) -> bool:
    """Whether a target's fp16 artifacts compute in half precision if users ask for it, and not otherwise."""
    return target.in_half is not None and not target.marks_half


def forms(options: ConvertOptions, target: Target) -> list[Form]:
    """Return the forms in which artifacts for a target are asked for."""
    asked = []
    for precision in precision_names(options.precision):
        io = options.io if precision == "int8" else "float32"
        half = precision == "fp16" and options.arithmetic == "float16" and _offers_half(target)
        form = Form(precision=precision, io=io, batch=options.batch, half=half)
        if precision == "int8" and io == "float32" and len(target.ranges) > 1:
            asked += [replace(form, ranges=one) for one in chosen_ranges(options) or target.ranges[:1]]
        else:
            asked.append(form)
    return asked


def resolved(options: ConvertOptions, stack: ExitStack) -> Request:
    """Return the request that options make.

    Args:
        options: What the user asks for.
        stack: Holds what has to exist as long as the request is used: a model in memory is saved to a file first,
            because converting starts from what a file holds.

    Raises:
        UsageError: A model, target, precision or preprocessing is not known, or two options contradict each other.
        InputError: The model's file is missing or of a kind that is not read, or the file of preprocessing is damaged.
    """
    return Request(
        source=replace(
            _source(options.model, options.weights, stack),
            size=options.size,
            output_kind=options.output_kind,
            dequantize=options.dequantize,
        ),
        targets=target_names(options.target),
        precisions=precision_names(options.precision),
        options=options,
        data_config=read_data_config(options.preprocess, options.crop, options.resize),
    )


def _source(model: Any, weights: str | None, stack: ExitStack) -> Source:
    if model is None or isinstance(model, str | Path):
        return find_source(None if model is None else str(model), weights)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-"))
    path = Path(folder) / f"{model.name}.keras"
    model.save(path)
    return find_source(str(path), weights)
