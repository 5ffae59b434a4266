"""Decide what an artifact of others takes and gives: photos of a size and layout, and a value for each class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import get_args

import numpy as np

from xedge.bundle.manifest import RANGES, TensorSpec
from xedge.conversion.options import WrapOptions
from xedge.errors import InputError, UnsupportedError, UsageError, XedgeError, parameter
from xedge.photos.preprocess import LARGEST_SIDE
from xedge.runtimes import Contents, End, Runtime, Settings, refusal
from xedge.types import Shape, Tensor
from xedge.vocabulary import ElementType, Layout

CHANNELS = (1, 3)
# Where the channels are in each layout of a batch of photos.
PLACES: dict[Layout, tuple[int, int, int]] = {"NHWC": (1, 2, 3), "NCHW": (2, 3, 1)}
# More names than this make a message unreadable.
MOST_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What an artifact takes and gives, found by its file and by running it once.

    Args:
        contents: What the file says of itself.
        source: The input, as the file describes it.
        result: The output, as the file describes it.
        input: The input for the manifest.
        output: The output for the manifest.
    """

    contents: Contents
    source: End
    result: End
    input: TensorSpec
    output: TensorSpec

    @property
    def photo(self) -> tuple[int, int, int]:
        """The height, the width and the number of channels of a photo."""
        assert self.input.layout is not None
        height, width, channels = (self.input.shape[place] for place in PLACES[self.input.layout])
        return height, width, channels

    @property
    def classes(self) -> int:
        """The number of classes; one value stands for two."""
        return max(self.output.photo_values, 2)

    @property
    def takes_pixels(self) -> bool:
        """Whether the input has integers that stand for nothing else than the pixels, so that the artifact scales."""
        return self.source.dtype in RANGES and self.source.scale is None


def find_ends(artifact: Path, copy: Path, runtime: Runtime, settings: Settings, options: WrapOptions) -> Ends:
    """Read an artifact and run it once.

    Args:
        artifact: The user's file, for messages.
        copy: The copy of it that is read and run.
        runtime: The runtime that opens it.
        settings: How it is run.
        options: What the user says of it.

    Raises:
        UnsupportedError: It does not take one photo, or does not give one value for each class.
        UsageError: The user has to say something, or said something that does not fit.
        BundleError: It is damaged, or the runtime does not compute it.
    """
    contents = runtime.contents(copy)
    source, result = _source(artifact, contents), _result(artifact, contents, options)
    taken = _input(artifact, source, options)
    session = runtime.open(copy, replace(settings, shape=taken.shape, output=result.name))
    try:
        output = session.run(np.zeros(taken.shape, taken.dtype))
    except (XedgeError, MemoryError):
        raise
    except Exception as error:  # runtimes raise errors of many kinds
        raise refusal(artifact, f"{runtime.package} cannot compute it", error) from error
    return Ends(
        contents=contents, source=source, result=result, input=taken, output=_output(artifact, result, taken, output)
    )


def _source(artifact: Path, contents: Contents) -> End:
    if len(contents.inputs) != 1:
        raise UnsupportedError(
            f"{artifact}: has {len(contents.inputs)} inputs ({_names(contents.inputs)}); a classifier of photos has one"
        )
    return contents.inputs[0]


def _result(artifact: Path, contents: Contents, options: WrapOptions) -> End:
    wanted, outputs = options.output_name, contents.outputs
    if wanted is not None:
        named = [one for one in outputs if one.name == wanted]
        if not named:
            raise UsageError(f"{parameter('output_name')} {wanted}: {artifact} has {_names(outputs)}")
        return named[0]
    if len(outputs) != 1:
        raise UnsupportedError(
            f"{artifact}: has {len(outputs)} outputs ({_names(outputs)}); a classifier has one, which "
            f"{parameter('output_name')} chooses"
        )
    return outputs[0]


def _names(ends: tuple[End, ...]) -> str:
    return ", ".join(one.name for one in ends[:MOST_NAMES]) + (", ..." if len(ends) > MOST_NAMES else "")


def _input(artifact: Path, source: End, options: WrapOptions) -> TensorSpec:
    if len(source.shape) != 4:
        raise UnsupportedError(
            f"{artifact}: takes {_shown(source.shape)}; a classifier of photos takes a batch of photos, four sizes"
        )
    layout = _layout(artifact, source.shape, options.layout)
    high, wide, deep = PLACES[layout]
    shape = list(source.shape)
    if shape[0] == -1:
        shape[0] = 1
    if options.size is not None:
        for place, size in ((high, options.size[0]), (wide, options.size[1])):
            if shape[place] not in (-1, size):
                raise UsageError(
                    f"{parameter('size')} {options.size[0]}x{options.size[1]}: {artifact} takes photos of "
                    f"{shape[high]}x{shape[wide]}"
                )
            shape[place] = size
    if -1 in (shape[high], shape[wide]):
        raise UsageError(f"{artifact}: takes photos of any size; choose one with {parameter('size')}")
    if max(shape[high], shape[wide]) > LARGEST_SIDE:
        raise UnsupportedError(f"{artifact}: takes {_shown(source.shape)}; a side of a photo has up to {LARGEST_SIDE}")
    if shape[deep] not in CHANNELS:
        raise UnsupportedError(f"{artifact}: takes {_shown((shape[deep],))} channels; photos have 1 or 3")
    if source.dtype == "int8" and source.scale is None:
        raise UnsupportedError(f"{artifact}: takes int8 without a scale, so that nobody knows what stands for a pixel")
    pixels = source.dtype == "uint8" and source.scale is None
    return _spec(
        artifact, source, tuple(shape), layout, (1.0, 0) if pixels else (source.scale, source.zero_point), "takes"
    )


def _layout(artifact: Path, shape: Shape, named: Layout | None) -> Layout:
    fitting: list[Layout] = [layout for layout, places in PLACES.items() if shape[places[2]] in CHANNELS]
    if named is not None:
        if shape[PLACES[named][2]] not in (*CHANNELS, -1):
            raise UsageError(
                f"{parameter('layout')} {named}: {artifact} takes {_shown(shape)}, which has no channels there"
            )
        return named
    if not fitting:
        raise UnsupportedError(f"{artifact}: takes {_shown(shape)}, where no size is 1 or 3, the channels of photos")
    if len(fitting) > 1:
        raise UsageError(
            f"{artifact}: takes {_shown(shape)}; say with {parameter('layout')} whether channels are last (NHWC) or "
            "first (NCHW)"
        )
    return fitting[0]


def _output(artifact: Path, result: End, taken: TensorSpec, output: Tensor) -> TensorSpec:
    shape = tuple(output.shape)
    sizes = shape if len(shape) == 1 else shape[1:]
    if not sizes or prod(sizes) != max(sizes) or (len(shape) > 1 and shape[0] != taken.shape[0]):
        raise UnsupportedError(
            f"{artifact}: gives {_shown(shape)}; a classifier gives one value for each of its classes, such as (1, 10)"
        )
    if np.issubdtype(output.dtype, np.integer) and output.dtype.name not in RANGES:
        raise UnsupportedError(
            f"{artifact}: gives {output.dtype.name}, which may be the number of the chosen class; a value for each "
            "class is needed"
        )
    return _spec(artifact, result, shape, None, (result.scale, result.zero_point), "gives")


def _spec(
    artifact: Path,
    end: End,
    shape: Shape,
    layout: Layout | None,
    scale: tuple[float | None, int | None],
    verb: str,
) -> TensorSpec:
    known: tuple[ElementType, ...] = get_args(ElementType)
    dtype = next((one for one in known if one == end.dtype), None)
    if dtype is None:
        raise UnsupportedError(f"{artifact}: {verb} {end.dtype}; xedge runs {', '.join(known)}")
    if dtype in RANGES and (scale[0] is None or not isfinite(scale[0])):
        raise UnsupportedError(f"{artifact}: {verb} {dtype} without a scale, so that its integers mean nothing")
    try:
        return TensorSpec(name=end.name, shape=shape, dtype=dtype, layout=layout, scale=scale[0], zero_point=scale[1])
    except ValueError as error:
        raise InputError(f"{artifact}: {error}; it cannot be wrapped") from error


def _shown(shape: Shape) -> str:
    words = ", ".join("any" if size == -1 else str(size) for size in shape)
    return f"({words})" if len(shape) > 1 else words
