"""The options of the commands that convert, each defined once: for the command line, for Python and for the docs.

An option is a field of a dataclass below. Its documentation is what ``--help`` prints and what ``help(xedge.convert)``
shows; its name is the argument's in Python, and with hyphens the command line's unless ``flag`` says another. A command
uses an option by reading the field.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

from xedge.converters import Target, targets
from xedge.errors import XedgeError
from xedge.vocabulary import (
    BOARD_RANGES,
    BY_NAME_ONLY,
    OUTPUT_KINDS,
    PRECISIONS,
    SCHEMES,
    TOLERATED_POINTS,
    Arithmetic,
    Batch,
    Crop,
    CropChoice,
    IoType,
    Layout,
    OutputKind,
    Precision,
    Resize,
)

Pathlike = str | Path
Report = Callable[[str], None]
# Told the target, the precision and the error of what could not be made.
Failed = Callable[[str, Precision, XedgeError], None]
P = ParamSpec("P")
Options = TypeVar("Options")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of an option besides its name, type and default.

    Args:
        words: The documentation: a sentence that reads alone.
        flag: The option on the command line; None makes it of the name, and an empty text leaves it out there.
        kind: How text on the command line becomes a value: a function of ``xedge.cli.values``, ``Path``, ``text`` or
            ``switch``.
        metavar: What stands for the value in ``--help``.
        choices: The values that there are, where they are few.
    """

    words: str
    flag: str | None = None
    kind: str = "text"
    metavar: str | None = None
    choices: tuple[str, ...] | None = None


def option(words: str, *, default: Any = MISSING, kw_only: bool = True, **known: Any) -> Any:
    """Return a dataclass field for an option.

    Args:
        words: The documentation.
        default: The default; without one the option is required.
        kw_only: Whether it is given by its name alone.
        known: Other fields of ``Option``.
    """
    return field(default=default, kw_only=kw_only, metadata={"option": Option(words=words, **known)})


def again(
    options: type, name: str, default: Any, words: str | None = None, choices: tuple[str, ...] | None = None
) -> Any:
    """Return the field of an option that another class has, with another default, other words or fewer choices.

    Args:
        options: The class that has the option.
        name: The name of the option.
        default: The default.
        words: The documentation; None takes that of the other class.
        choices: The values that there are; None takes those of the other class.
    """
    (known,) = (one for one in fields(options) if one.name == name)
    metadata = dict(known.metadata)
    if words is not None:
        metadata["option"] = dataclasses.replace(metadata["option"], words=words)
    if choices is not None:
        metadata["option"] = dataclasses.replace(metadata["option"], choices=choices)
    return field(default=default, kw_only=known.kw_only, metadata=metadata)


if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    from xedge.bundle.manifest import Manifest
    from xedge.types import FloatArray, IntArray

    # Told a bundle's manifest, the probabilities (N, classes) of its artifact and of the float reference for the
    # labelled photos, and the indices (N,) of their true classes.
    Scored = Callable[[Manifest, FloatArray, FloatArray, IntArray], None]
else:
    Scored = Callable[..., None]

    def dataclass_transform(**_):
        """Do nothing: what this tells type checkers, Python 3.10 has no name for."""
        return lambda function: function


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option, again))
def options_class(of: type[Options]) -> type[Options]:
    """Make a frozen dataclass of options."""
    return dataclass(frozen=True, kw_only=True)(of)


def _silent(line: str) -> None:
    del line


@options_class
class ModelOptions:
    """Which model, and how its photos are prepared."""

    model: Any = option(
        "A .keras or .h5 file, a SavedModel folder, an .onnx file, or a built-in name (xception, inception_v3, "
        "resnet50) with weights; in Python also a Keras model in memory. Without it, the compact Xception that comes "
        "with xedge.",
        default=None,
        kw_only=False,
        metavar="MODEL",
    )
    weights: str | None = option(
        "The weights for a built-in name: imagenet, which are downloaded, or a file.",
        default=None,
        metavar="imagenet|FILE",
    )
    preprocess: str | None = option(
        "How photos were prepared when the model was trained: one of {schemes}, or a file. timm:FILE.json is the data "
        "config of a network of timm, or the config.json of one on Hugging Face; torchvision:FILE.json has the values "
        "of the transforms of weights of torchvision. Without it, xedge guesses and says what it assumes.",
        default=None,
        kind="scheme_name",
        metavar="SCHEME|KIND:FILE",
    )
    crop: CropChoice = option(
        "How photos are fitted to the input: stretched (none), cut to its aspect ratio (center), or, with a smaller "
        "--size, stretched to the model's own size before the centre is cut (scale), so that things in photos keep "
        "theirs. A file of preprocessing says this itself.",
        default="none",
        choices=get_args(CropChoice),
    )
    resize: Resize = option(
        "How photos were resized in training: bilinear with antialiasing, as Pillow, torchvision and the interpolation "
        "of Keras' load_img do (pillow), or without, as image_dataset_from_directory and tf.image.resize do (keras). A "
        "file of preprocessing says this itself.",
        default="pillow",
        choices=get_args(Resize),
    )
    exif: bool = option(
        "Turn photos as their EXIF orientation says before they are scaled; the bundle remembers it. Keras takes "
        "photos as they are stored, and so does xedge without this.",
        default=False,
        kind="switch",
    )
    size: tuple[int, int] | None = option(
        "The height and width of photos, such as 224x224, for a model that takes any size, or another size for a fully "
        "convolutional one; in Python, two numbers.",
        default=None,
        kind="size",
        metavar="HxW",
    )
    output_kind: OutputKind | None = option(
        "What the output holds: probabilities or logits of all classes, or the probability or logit of the second of "
        "two classes. Without it, xedge finds out by the model's last layers or by its values.",
        default=None,
        choices=OUTPUT_KINDS,
    )
    dequantize: bool = option(
        "Restore the float model of an ONNX file that is quantized already; its weights keep the rounding that they "
        "have.",
        default=False,
        kind="switch",
    )
    allow_code: bool = option(
        "Run code that the model file brings, such as Lambda layers.", default=False, kind="switch"
    )


@options_class
class CalibrationOptions:
    """Which photos fix the ranges of int8, and show w4 how inputs vary."""

    calibration: Pathlike | None = option(
        "The photos that fix the ranges of int8, and by which w4 rounds weights: a folder, or a .npy or .npz array. "
        "Without it, photos that come with xedge.",
        default=None,
        kind="Path",
        metavar="DIR|FILE",
    )
    calibration_count: int = option(
        "The number of calibration photos to choose.", default=100, kind="positive", metavar="N"
    )
    seed: int = option(
        "The seed that chooses photos where there are more than needed.", default=0, kind="int", metavar="N"
    )


@options_class
class Callbacks:
    """Who is told what happens."""

    report: Report = option("A function that is told one line as each stage ends.", default=_silent, flag="")
    progress: Report = option("A function that is told how far a long stage is.", default=_silent, flag="")


@options_class
class ConvertOptions(Callbacks, CalibrationOptions, ModelOptions):
    """What to make, and what int8 may cost."""

    target: Any = option(
        "The target to convert to, several with commas (in Python also a sequence), or all. There are {targets}.",
        kind="target_names",
        metavar="TARGET",
    )
    precision: Any = option(
        "The precision, several with commas (in Python also a sequence), or all. There are {precisions}; all leaves "
        "out w4, whose weights of 4 bits make the smallest artifacts.",
        default="fp32",
        kind="precision_names",
        metavar="PRECISION",
    )
    output: Pathlike | None = option(
        "The folder to write the bundle to; with several bundles, the folder that they are put in. Without it, the "
        "bundle is named after the model, in the current folder.",
        default=None,
        kind="Path",
        metavar="DIR",
    )
    io: IoType = option(
        "The type of an int8 artifact's input and output: float32, or integers (int8 for tflite, uint8 pixels for onnx "
        "and openvino).",
        default="float32",
        choices=("float32", "int8", "uint8"),
    )
    arithmetic: Arithmetic | None = option(
        "Let an onnx fp16 artifact also compute in float16, which takes fewer instructions than fp32 on Arm processors "
        "with half precision (Raspberry Pi 5, and others from Cortex-A55 and A75 on) and gains nothing on all others. "
        "Without it, ONNX Runtime unpacks the weights and computes in float32. The other targets choose float16 by "
        "themselves where they can.",
        default=None,
        choices=get_args(Arithmetic),
    )
    ranges: Any = option(
        "Where the ranges of int8 activations come from in tflite: photo takes them from each photo at run time, which "
        "keeps the most accuracy; fixed takes all of them from the calibration photos, which moves far less memory. "
        "Several with commas, or all, make a bundle of each. Without it, photo.",
        default=None,
        kind="ranges_names",
        metavar="RANGES",
    )
    board: str | None = option(
        "The board that int8 is meant for, which chooses --ranges: "
        f"{', '.join(f'{ranges} for {name}' for name, ranges in BOARD_RANGES.items())}.",
        default=None,
        flag="--for",
        choices=tuple(BOARD_RANGES),
    )
    batch: Batch = option(
        "The number of photos that an artifact takes at once, or dynamic for any number; tflite takes one.",
        default=1,
        kind="batch",
        metavar="N|dynamic",
    )
    pixels: bool = option(
        "Put the scaling of pixels into the artifact, which then takes uint8 pixels.", default=False, kind="switch"
    )
    logits: bool = option(
        "Leave the softmax out of the artifact; the runner computes it afterwards.", default=False, kind="switch"
    )
    data: Pathlike | None = option(
        "Labelled photos to measure the accuracy on: a folder with one folder for each class, or another form that "
        "evaluate takes. The embedded model has its own.",
        default=None,
        kind="Path",
        metavar="DATA",
    )
    truth: Pathlike | None = option(
        "A file with the classes of the labelled photos, where neither folders nor the files themselves have them.",
        default=None,
        kind="Path",
        metavar="FILE",
    )
    max_drop_points: float | None = option(
        "The budget of int8 for lost accuracy: how many percentage points of top-1 it may lose against float.",
        default=None,
        flag="--max-drop",
        kind="points",
        metavar="POINTS",
    )
    min_agreement: float | None = option(
        "The budget of int8 for agreement: the share of photos that must keep float's first class, in percent on the "
        "command line and from 0 to 1 in Python.",
        default=None,
        kind="share",
        metavar="PERCENT",
    )
    time_budget_s: float | None = option(
        "The time after which no further attempt to keep a budget is begun, such as 30s, 10m or 1h; in Python, "
        "seconds.",
        default=None,
        flag="--time-budget",
        kind="seconds",
        metavar="TIME",
    )
    selection: Pathlike | None = option(
        "The photos on which a budget is judged. Without it, photos of the calibration folder that were not chosen for "
        "calibration.",
        default=None,
        kind="Path",
        metavar="DIR",
    )
    selection_count: int | None = option(
        "The number of photos on which a budget is judged. Without it, 300, or more where there are more: three times "
        "those that would show that the budget is met if no photo changed its class.",
        default=None,
        kind="positive",
        metavar="N",
    )
    labels: Pathlike | None = option(
        "A file with the class names in the order of the outputs, one on each line.",
        default=None,
        kind="Path",
        metavar="FILE",
    )
    zipped: bool = option(
        "Write each bundle as one zip instead of a folder.", default=False, flag="--zip", kind="switch"
    )
    failed: Failed | None = option(
        "A function that is told the target, the precision and the error of what could not be made, so that the others "
        "still are; without it, the error is raised.",
        default=None,
        flag="",
    )
    scored: Scored | None = option(
        "A function that is told the manifest of each bundle with accuracy, the probabilities (N, classes) of its "
        "artifact and of the float model for the labelled photos, and the indices (N,) of their classes.",
        default=None,
        flag="",
    )


@options_class
class BenchmarkChoices(ConvertOptions):
    """What to try."""

    target: Any = again(ConvertOptions, "target", "all")
    precision: Any = again(ConvertOptions, "precision", "all")
    ranges: Any = again(
        ConvertOptions,
        "ranges",
        default=None,
        words="Where the ranges of int8 activations come from in tflite, several with commas: photo (each photo, at "
        "run time) or fixed (the calibration photos). Without it, both are measured.",
    )
    sizes: tuple[tuple[int, int], ...] | None = option(
        "Several heights and widths of photos to convert the model at, such as 299,256,224, for fully convolutional "
        "models; accuracy is compared with the first. --crop scale cuts smaller ones out of photos of the model's own "
        "size.",
        default=None,
        kind="sizes",
        metavar="HxW,...",
    )
    tolerated_points: float = option(
        "The percentage points of top-1 that the recommended bundle may lose against fp32.",
        default=TOLERATED_POINTS,
        flag="--tolerate",
        kind="points",
        metavar="POINTS",
    )


@options_class
class AnalyzeOptions(Callbacks, CalibrationOptions, ModelOptions):
    """What to measure."""

    target: str = option(
        "The target whose int8 is analyzed.",
        default="onnx",
        kind="one_target",
        metavar="TARGET",
    )
    data: Pathlike | None = option(
        "The photos to measure noise on. Without it, photos of the calibration folder that were not chosen for "
        "calibration.",
        default=None,
        kind="Path",
        metavar="DIR",
    )
    photos: int = option("The number of photos to measure noise on.", default=8, kind="positive", metavar="N")


@options_class
class WrapOptions(Callbacks):
    """What is wrapped, and what its file does not say."""

    artifact: Pathlike = option(
        "The file: .tflite, .onnx (files with its weights have to be beside it), or the .xml of OpenVINO with its .bin "
        "beside it.",
        kw_only=False,
        metavar="FILE",
    )
    preprocess: str | None = again(
        ModelOptions,
        "preprocess",
        default=None,
        words="How photos were scaled when the model was trained. It is needed unless the reference or the file tells: "
        "its metadata, the scale of an integer input, or an input of whole pixels.",
    )
    crop: Crop = again(
        ModelOptions,
        "crop",
        default="none",
        words="How photos are fitted to the input: stretched (none), or cut to its aspect ratio (center).",
        choices=get_args(Crop),
    )
    resize: Resize = again(ModelOptions, "resize", default="pillow")
    exif: bool = again(
        ModelOptions, "exif", default=False, words="Turn photos as their EXIF orientation says before they are scaled."
    )
    size: tuple[int, int] | None = again(
        ModelOptions,
        "size",
        default=None,
        words="The height and width of photos, such as 224x224, for a file that leaves them open; in Python, two "
        "numbers.",
    )
    layout: Layout | None = option(
        "Where the channels of a photo are, if the shape of the input does not tell: last (NHWC) or first (NCHW).",
        default=None,
        choices=("NHWC", "NCHW"),
    )
    output_name: str | None = option(
        "The name of the output with the classes, for a file with several outputs.", default=None, metavar="NAME"
    )
    output_kind: OutputKind | None = again(
        ModelOptions,
        "output_kind",
        default=None,
        words="What the output holds: probabilities or logits of all classes, or the probability or logit of the "
        "second of two classes. Without it, xedge finds out by the values.",
    )
    labels: Pathlike | None = again(
        ConvertOptions,
        "labels",
        default=None,
        words="A file with the class names in the order of the outputs, one on each line. Without it, xedge takes "
        "those in the file, those of the reference, or the class folders of the labelled photos.",
    )
    data: Pathlike | None = again(
        ConvertOptions,
        "data",
        default=None,
        words="Labelled photos to measure the accuracy on: a folder with one folder for each class, or another form "
        "that evaluate takes.",
    )
    truth: Pathlike | None = again(ConvertOptions, "truth", default=None)
    reference: Pathlike | None = option(
        "A bundle of the same model in float. Lost accuracy and agreement are measured against it, and the wrapped "
        "bundle can be compared with others of this model.",
        default=None,
        kind="Path",
        metavar="BUNDLE",
    )
    output: Pathlike | None = again(
        ConvertOptions,
        "output",
        default=None,
        words="The folder to write the bundle to. Without it, the bundle is named after the file, in the current "
        "folder.",
    )
    zipped: bool = again(
        ConvertOptions, "zipped", default=False, words="Write the bundle as one zip instead of a folder."
    )


@options_class
class ReproduceOptions(Callbacks):
    """Which bundle, and where that is now of which it was made."""

    bundle: Pathlike = option("The bundle: its folder or its zip.", kw_only=False, metavar="BUNDLE")
    model: Pathlike | None = option(
        "The model, if it is not where it was or was in memory.", default=None, kind="Path", metavar="MODEL"
    )
    weights: str | None = option(
        "The file of weights of a built-in name, if it is not where it was.", default=None, metavar="FILE"
    )
    preprocess: str | None = option(
        "The file that says how photos are prepared, with its kind, if it is not where it was.",
        default=None,
        kind="scheme_name",
        metavar="KIND:FILE",
    )
    calibration: Pathlike | None = option(
        "The calibration photos, if they are not where they were.", default=None, kind="Path", metavar="DIR|FILE"
    )
    selection: Pathlike | None = option(
        "The photos on which a budget was judged, if they are not where they were.",
        default=None,
        kind="Path",
        metavar="DIR",
    )
    data: Pathlike | None = option(
        "The labelled photos, if they are not where they were.", default=None, kind="Path", metavar="DATA"
    )
    truth: Pathlike | None = option(
        "The file with the classes of the labelled photos, if it is not where it was.",
        default=None,
        kind="Path",
        metavar="FILE",
    )
    labels: Pathlike | None = option(
        "The file with the class names, if it is not where it was.", default=None, kind="Path", metavar="FILE"
    )
    allow_code: bool = option(
        "Run code that the model file brings, if the bundle was made so.", default=False, kind="switch"
    )


def documented(options: type) -> dict[str, Option]:
    """Return what is known of each option of a dataclass, by its name in Python."""
    return {one.name: one.metadata["option"] for one in dataclasses.fields(options)}


def filled(words: str) -> str:
    """Return an option's documentation with the names of targets, precisions and schemes that there are."""
    if "{targets}" in words:
        words = words.replace("{targets}", ", ".join(_called(target) for target in targets()))
    precisions = ", ".join((*PRECISIONS, *BY_NAME_ONLY))
    return words.replace("{precisions}", precisions).replace("{schemes}", ", ".join(SCHEMES))


def _called(target: Target) -> str:
    return f"{target.name} ({', '.join(target.aliases)})" if target.aliases else target.name


def taking(options: Callable[P, Options]) -> Callable[[Callable[[Options], Result]], Callable[P, Result]]:
    """Give a function that takes one dataclass of options a signature with an argument for each of its fields.

    The arguments are documented with the options' words.
    """

    def decorate(function: Callable[[Options], Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> Result:
            return function(options(*arguments, **named))

        assert isinstance(options, type)
        result = inspect.signature(function, eval_str=False).return_annotation
        call.__signature__ = inspect.signature(options).replace(return_annotation=result)  # type: ignore[attr-defined]
        call.__doc__ = _with_arguments(inspect.getdoc(function) or "", documented(options))
        return call

    return decorate


def _with_arguments(text: str, known: dict[str, Option]) -> str:
    """Return a docstring with an ``Args`` section before what it says it returns and raises."""
    lines = [
        textwrap.fill(f"{name}: {filled(one.words)}", 112, initial_indent="    ", subsequent_indent="        ")
        for name, one in known.items()
    ]
    place = min((at for at in (text.find("\nReturns:"), text.find("\nRaises:")) if at >= 0), default=len(text))
    return f"{text[:place].rstrip()}\n\nArgs:\n" + "\n".join(lines) + f"\n{text[place:]}"
