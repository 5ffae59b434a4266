"""The command line: every command and its options, without importing what they run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from xedge._version import __version__
from xedge.cli.options import add_options
from xedge.cli.values import cooldown, points, port, positive, probability, rate, seconds, share, whole
from xedge.conversion.options import (
    AnalyzeOptions,
    BenchmarkChoices,
    ConvertOptions,
    ModelOptions,
    ReproduceOptions,
    WrapOptions,
    filled,
)
from xedge.errors import EXIT_CODES, UsageError, nearest, not_known

# What stands for the destination of a deployment whose machines are named by options.
NO_DESTINATION = ""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help whose options name the targets and precisions that there are; finding these takes time, so only here."""

    def _expand_help(self, action: argparse.Action) -> str:
        return filled(super()._expand_help(action))


class _Parser(argparse.ArgumentParser):
    """argparse with errors of our kind: one line, with a guess at what was meant."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, **named})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except UsageError as error:
            self.error(f"{_shown(action)}: {error.worded(lambda name: name)}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            named = f"{_shown(action)}: " if action.option_strings else ""
            what = action.option_strings[0].lstrip("-") if action.option_strings else action.dest
            self.error(f"{named}{not_known(what, str(value), list(action.choices))}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words; what a command does not know is told with the nearest option and the command's own help."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return found, unknown

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if option is None:
            self.error(f"too many arguments: {' '.join(unknown)}")
        close = nearest(option, list(self._option_string_actions))
        self.error(f"unknown option {option}{f' (did you mean {close}?)' if close else ''}")


def _shown(action: argparse.Action) -> str:
    """Return how users write an argument."""
    return action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    top = _Parser(
        prog="xedge",
        description="Convert, quantize, run and measure convolutional image classifiers on edge devices.\n"
        "`xedge COMMAND --help` and `xedge help COMMAND` say more about a command.",
        epilog=f"exit codes:\n{codes}",
    )
    top.add_argument("-V", "--version", action="version", version=f"xedge {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_convert(commands)
    _add_init(commands)
    _add_check(commands)
    _add_wrap(commands)
    _add_run(commands)
    _add_explain(commands)
    _add_predict(commands)
    _add_demo(commands)
    _add_evaluate(commands)
    _add_verify(commands)
    _add_reproduce(commands)
    _add_analyze(commands)
    _add_cost(commands)
    _add_compare(commands)
    _add_benchmark(commands)
    _add_report(commands)
    _add_info(commands)
    _add_hashes(commands)
    _add_doctor(commands)
    _add_deploy(commands)
    _add_examples(commands)
    _add_completion(commands)
    return top


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line.

    The word after ``--json`` is its file only if it is ``-`` or ends in ``.json``. Otherwise it is what the command
    works on, which would be overwritten.

    Args:
        arguments: The words of the command line.

    Raises:
        UsageError: The command line is wrong.
    """
    words = _plain(list(arguments))
    options = words[: words.index("--")] if "--" in words else words[:]
    if words[:1] == ["deploy"] and any(re.fullmatch("--(o|on|fl|fle|flee|fleet)(=.*)?", word) for word in options):
        # The machines are named by options, so that the first word is a bundle already.
        words.insert(1, NO_DESTINATION)
        options.insert(1, NO_DESTINATION)
    for place, word in enumerate(options):
        following = words[place + 1] if place + 1 < len(options) else ""
        if re.fullmatch("--js?o?n?", word) and not (following == "-" or following.lower().endswith(".json")):
            words[place] = "--json=-"
    return parser().parse_args(words)


def _plain(words: list[str]) -> list[str]:
    """Return a command line with options for what other programs take as words, and ``--verbose`` after its command."""
    match words:
        case []:
            return ["--help"]
        case ["help", *command]:
            return [*command[:1], "--help"]
        case ["version"]:
            return ["--version"]
        case ["--verbose", _, *_]:
            plain = _plain(words[1:])
            return [plain[0], "--verbose", *plain[1:]]
        case _:
            return words


def commands_of(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its name."""
    (found,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


PROVIDER_HELP = (
    "The processor or backend to run on: cpu (the default); cuda or tensorrt with onnxruntime; gpu or npu with "
    "openvino."
)
THREADS_HELP = "The number of threads for one inference (default: the number of cores, at most 4)."
Commands = "argparse._SubParsersAction[_Parser]"


def _add_page(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--report",
        dest="page",
        type=Path,
        metavar="FILE",
        help="Afterwards run the bundles here and write a page about them, as xedge report does.",
    )


def _add_convert(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("convert", help="make bundles of a model")  # type: ignore[attr-defined]
    add_options(p, ConvertOptions)
    _add_page(p)
    _add_reporting(p)


# What `init` is told of a model and its photos; the rest is for the file that it writes.
INIT_OPTIONS = (
    *("model", "weights", "preprocess", "crop", "exif", "size", "output_kind", "dequantize", "allow_code"),
    *("calibration", "target", "precision", "data", "truth", "labels"),
)
CONFIG_FILE = "xedge.toml"


def _add_init(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "init", help="write a file for xedge check by asking a model and its photos"
    )
    add_options(p, ConvertOptions, INIT_OPTIONS, {"target": "all", "precision": "int8"})
    p.add_argument(
        "--output",
        "-o",
        dest="file",
        type=Path,
        default=Path(CONFIG_FILE),
        metavar="FILE",
        help=f"The file to write (default: {CONFIG_FILE}).",
    )
    _add_reporting(p)


def _add_check(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "check", help="judge a model's bundles by the budgets in a file, for continuous integration"
    )
    p.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path(CONFIG_FILE),
        metavar="FILE",
        help=f"The file with the model, the photos and the budgets, which xedge init begins (default: {CONFIG_FILE}).",
    )
    p.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="DIR",
        help="The folder to keep the bundles in, and the results as check.json. Without it, they are not kept.",
    )
    p.add_argument("--junit", type=Path, metavar="FILE", help="Also write the results as JUnit XML.")
    p.add_argument(
        "--summary", type=Path, metavar="FILE", help="Also write the results in Markdown, for a pull request."
    )
    p.add_argument("--badge", type=Path, metavar="FILE", help="Also write a badge with the agreement, as SVG.")
    _add_page(p)
    _add_reporting(p)


def _add_wrap(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("wrap", help="make a bundle of an artifact that others made")  # type: ignore[attr-defined]
    add_options(p, WrapOptions)
    _add_reporting(p)


def _add_run(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("run", help="test, time and score a bundle on this machine")  # type: ignore[attr-defined]
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="A bundle: its folder or its zip.")
    _add_machines(p, "Run on another machine, over ssh; this takes several bundles at once, and several of --on.")
    p.add_argument(
        "--wheels",
        type=Path,
        metavar="DIR",
        help="With --on and --fleet: a folder of wheels, for machines without internet.",
    )
    _add_photos(p, "Labelled photos, where the embedded model does not have its own")
    p.add_argument("--limit", type=positive, metavar="N", help="Score N of the photos, chosen by a fixed seed.")
    p.add_argument(
        "--no-accuracy",
        action="store_true",
        help="Only measure time, where the embedded model's own photos would be scored.",
    )
    p.add_argument("--runs", type=positive, metavar="N", help="Time exactly N inferences.")
    p.add_argument(
        "--duration",
        dest="duration_s",
        type=seconds,
        metavar="TIME",
        help="Time inferences for this long, such as 30s, 10m or 1h.",
    )
    p.add_argument(
        "--rate",
        type=rate,
        metavar="FPS",
        help="Let frames arrive at this rate whether the last one is done or not; some may be dropped.",
    )
    p.add_argument(
        "--cooldown",
        type=cooldown,
        metavar="TIME|TEMP",
        help="Before the run, wait for a time (60s), or until the board has cooled to a temperature (50C).",
    )
    p.add_argument(
        "--against",
        type=Path,
        metavar="BUNDLE",
        help="Another bundle of the same model, usually its fp32, to time in turns with this one.",
    )
    p.add_argument(
        "--streams",
        type=positive,
        metavar="N",
        help="Also time N photos at once: MLPerf's multistream scenario, and its offline scenario.",
    )
    p.add_argument("--profile", action="store_true", help="Also time each operation, and show the slowest.")
    p.add_argument(
        "--cold-starts",
        type=positive,
        metavar="N",
        help="Also time N fresh processes, each from its start to its first answer, with its memory.",
    )
    _add_execution(p)
    _add_reporting(p)


def _add_explain(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "explain", help="say why a bundle is not faster here, and what would make it faster"
    )
    p.add_argument("bundle", type=Path, metavar="BUNDLE", help="The bundle: its folder or its zip.")
    p.add_argument("--on", metavar="USER@HOST", help="Explain on another machine, over ssh, what takes the time there.")
    p.add_argument(
        "--wheels", type=Path, metavar="DIR", help="With --on: a folder of wheels, for a machine without internet."
    )
    p.add_argument(
        "--against",
        type=Path,
        metavar="BUNDLE",
        help="Another bundle of the same model, usually its fp32, to time in turns with this one.",
    )
    _add_execution(p)
    _add_reporting(p)


def _add_predict(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("predict", help="print the top classes of photos")  # type: ignore[attr-defined]
    p.add_argument("bundle", type=Path, metavar="BUNDLE", help="The bundle: its folder or its zip.")
    p.add_argument(
        "photos",
        type=Path,
        nargs="+",
        metavar="PHOTO",
        help="A photo; a folder of photos, flat or with class folders; a pattern such as 'photos/**/*.jpg'; or the "
        "number of a camera, such as 0 for /dev/video0, which OpenCV reads.",
    )
    p.add_argument(
        "--top",
        type=positive,
        default=3,
        metavar="N",
        help="The number of classes to print for each photo (default: 3).",
    )
    _add_execution(p)
    _add_reporting(p)


def _add_demo(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "demo", help="show a bundle at work on photos or a camera, on a page; with two bundles, what differs"
    )
    p.add_argument(
        "bundles",
        type=Path,
        nargs="+",
        metavar="BUNDLE",
        help="A bundle: its folder or its zip; or two of one model, such as fp32 and int8.",
    )
    p.add_argument(
        "--data",
        metavar="DATA",
        help="The photos to show, in a form that run takes (default: those of the embedded model, if the bundle is of "
        "it).",
    )
    p.add_argument(
        "--camera",
        metavar="N",
        help="Show a camera instead: its number, such as 0 for /dev/video0, or a video file, which OpenCV reads; or "
        "picamera for a Raspberry Pi's own camera, which picamera2 reads.",
    )
    p.add_argument(
        "--rate",
        type=rate,
        metavar="FPS",
        help="Show at most this number of photos per second (default: 1 for photos, no limit for a camera).",
    )
    p.add_argument(
        "--top",
        type=positive,
        default=3,
        metavar="N",
        help="The number of classes to show for each photo (default: 3).",
    )
    p.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="The address to listen on (default: 127.0.0.1, which only this machine reaches; 0.0.0.0 lets the network "
        "in).",
    )
    p.add_argument(
        "--port", type=port, metavar="N", help="The port to listen on (default: 8765, or a free one if it is taken)."
    )
    p.add_argument("--open", action="store_true", help="Also open the page in a browser of this machine.")
    _add_execution(p)
    _add_reporting(p)


def _add_evaluate(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "evaluate", help="score bundles on many photos, on all cores or on a cluster, and go on where it stopped"
    )
    p.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="A bundle: its folder or its zip.")
    _add_photos(p, "The photos to score")
    p.add_argument("--limit", type=positive, metavar="N", help="Score N of the photos, chosen by a fixed seed.")
    p.add_argument(
        "--output",
        "-o",
        type=Path,
        required=True,
        metavar="DIR",
        help="The folder for the results of each chunk of photos; a second call computes only what is missing there.",
    )
    p.add_argument(
        "--workers", type=positive, metavar="N", help="The number of processes on this machine (default: its cores)."
    )
    p.add_argument(
        "--scheduler", metavar="ADDRESS", help="The scheduler of a Dask cluster that runs already: tcp://head:8786."
    )
    p.add_argument(
        "--runtime",
        metavar="NAME",
        help="The runtime: litert, tflite, onnxruntime or openvino (default: the first installed one that opens the "
        "artifact).",
    )
    _add_budget(p, "the first fp32 bundle, or else the first bundle")
    p.add_argument(
        "--plan",
        action="store_true",
        help="Evaluate nothing: say on how many photos a drop below --max-drop would be proved, judging by the results "
        "in --output so far.",
    )
    p.add_argument(
        "--skip-damaged",
        type=whole,
        default=0,
        metavar="N",
        help="Leave out up to N photos that cannot be read, and tell which (default: 0).",
    )
    _add_reporting(p)


def _add_budget(parser: argparse.ArgumentParser, baseline: str) -> None:
    parser.add_argument(
        "--max-drop",
        dest="max_drop_points",
        type=points,
        metavar="POINTS",
        help=f"The greatest drop of the top-1 accuracy against {baseline}.",
    )
    parser.add_argument(
        "--min-agreement",
        type=share,
        metavar="PERCENT",
        help=f"The least agreement with {baseline}, in percent of the photos.",
    )


def _add_photos(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument(
        "--data",
        metavar="DATA",
        help=f"{words}: a folder with one folder for each class, a flat folder, a .tar, WebDataset or Parquet shards; "
        "a path, a pattern, or an address such as 's3://bucket/val-*.tar'.",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="FILE",
        help="The classes of photos in a flat folder or a .tar: a CSV file with the columns file and label, or "
        "ImageNet's ground truth.",
    )


def _add_verify(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "verify", help="compare bundles of one model with each other and with Keras, and audit int8"
    )
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="A bundle: its folder or its zip.")
    _add_photos(p, "The photos to compare on, instead of the golden photos in the bundle")
    p.add_argument("--limit", type=positive, metavar="N", help="Take N of the photos, chosen by a fixed seed.")
    p.add_argument("--model", type=Path, metavar="FILE", help="The model's file, where it is not beside the bundles.")
    p.add_argument(
        "--min-agreement",
        type=share,
        metavar="PERCENT",
        help="The agreement that every pair must reach, in percent of the photos (default: 95).",
    )
    p.add_argument(
        "--max-difference",
        type=probability,
        metavar="P",
        help="The greatest difference of a probability that is allowed, from 0 to 1.",
    )
    p.add_argument(
        "--only-float",
        action="store_true",
        help="Demand this only of pairs with a member in fp32, such as each int8 bundle against float, and not of two "
        "quantized bundles.",
    )
    p.add_argument("--threads", type=positive, metavar="N", help=THREADS_HELP)
    p.add_argument("--provider", metavar="NAME", help=PROVIDER_HELP)
    _add_reporting(p)


def _add_reproduce(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "reproduce", help="make a bundle again from its manifest, and say whether it is the same or what drifted"
    )
    add_options(p, ReproduceOptions)
    _add_reporting(p)


def _add_analyze(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("analyze", help="tell which layers of a model lose accuracy in int8, and how")  # type: ignore[attr-defined]
    add_options(p, AnalyzeOptions)
    p.add_argument("--top", type=positive, metavar="N", help="Print only the N noisiest layers.")
    _add_reporting(p)


def _add_cost(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("cost", help="count parameters, multiply-accumulates and memory, layer by layer")  # type: ignore[attr-defined]
    p.add_argument(
        "model", nargs="?", metavar="MODEL", help="The model, as for convert; built-in names need no weights."
    )
    p.add_argument("--compare", action="store_true", help="Show Xception, Inception V3 and ResNet-50 side by side.")
    p.add_argument("--top", type=positive, metavar="N", help="Print only the N costliest layers.")
    add_options(p, ModelOptions, ("size", "allow_code"))
    _add_reporting(p)


def _add_compare(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("compare", help="put runs side by side and say which differences are noise")  # type: ignore[attr-defined]
    p.add_argument(
        "things",
        type=Path,
        nargs="+",
        metavar="RUN.json|BUNDLE",
        help="A JSON file that run or evaluate wrote with --json, or a bundle; bundles are run in turns.",
    )
    p.add_argument("--across", action="store_true", help="Also compare timings of different boards.")
    p.add_argument("--data", type=Path, metavar="DIR", help="Labelled photos to score bundles on.")
    p.add_argument("--limit", type=positive, metavar="N", help="Score bundles on N of the photos.")
    p.add_argument("--threads", type=positive, metavar="N", help=THREADS_HELP)
    _add_budget(p, "the first run")
    _add_rounds(p)
    p.add_argument("--markdown", action="store_true", help="Print the tables in Markdown, for a document.")
    _add_reporting(p)


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="The number of turns that each bundle has (default: 5)."
    )
    parser.add_argument(
        "--runs", type=positive, default=30, metavar="N", help="The number of inferences timed in a turn (default: 30)."
    )


def _add_benchmark(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "benchmark", help="convert to every target and precision, measure all in turns, and say which to take here"
    )
    only: tuple[str, ...] = ("model", "target", "precision", "output", "weights", "calibration", "data", "truth")
    only += ("labels", "preprocess", "size", "sizes", "crop", "resize", "exif", "ranges", "board", "dequantize")
    only += ("allow_code", "tolerated_points")
    add_options(p, BenchmarkChoices, only)
    p.add_argument("--limit", type=positive, metavar="N", help="Score what runs on N of the photos.")
    p.add_argument("--threads", type=positive, metavar="N", help=THREADS_HELP)
    _add_rounds(p)
    p.add_argument("--report", dest="page", type=Path, metavar="FILE", help="Also write a page, as xedge report does.")
    p.add_argument("--markdown", action="store_true", help="Print the table in Markdown, for a document.")
    _add_reporting(p)


def _add_report(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("report", help="make one page of runs that opens offline")  # type: ignore[attr-defined]
    p.add_argument(
        "documents",
        type=Path,
        nargs="+",
        metavar="RUN.json",
        help="A JSON file that run, benchmark, verify or analyze wrote with --json.",
    )
    p.add_argument(
        "--output",
        "-o",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="The file to write the page to (default: report.html).",
    )
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="The folder of the photos that were scored, where it has moved since.",
    )
    p.add_argument("--title", metavar="TEXT", help="The heading of the page.")
    _add_reporting(p)


def _add_info(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("info", help="describe a model, an artifact or a bundle")  # type: ignore[attr-defined]
    p.add_argument("thing", metavar="MODEL|ARTIFACT|BUNDLE", help="What to describe.")
    add_options(p, ModelOptions, ("weights", "size", "allow_code"))
    _add_reporting(p)


def _add_hashes(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("hashes", help="check the files of bundles against their hashes, without running them")  # type: ignore[attr-defined]
    p.add_argument(
        "paths",
        type=Path,
        nargs="*",
        metavar="BUNDLE|DIR",
        help="A bundle, or a folder that holds bundles at any depth (default: the current folder).",
    )
    _add_reporting(p)


def _add_doctor(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("doctor", help="say whether this machine can run bundles, and what to install")  # type: ignore[attr-defined]
    p.add_argument("--for", dest="bundle", type=Path, metavar="BUNDLE", help="Also try to run this bundle.")
    p.add_argument("--report", action="store_true", help="Print what an issue report needs, the last error included.")
    _add_reporting(p)


def _add_deploy(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("deploy", help="make another machine ready to run bundles, over ssh")  # type: ignore[attr-defined]
    p.add_argument(
        "destination", metavar="USER@HOST", help="The machine, as ssh knows it; left out with --on and --fleet."
    )
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="A bundle: its folder or its zip.")
    _add_machines(p, "A machine, as ssh knows it; there can be several of --on.")
    p.add_argument("--wheels", type=Path, metavar="DIR", help="A folder of wheels, for machines without internet.")
    _add_reporting(p)


def _add_examples(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("examples", help="list complete programs that use xedge, or copy them to a folder")  # type: ignore[attr-defined]
    p.add_argument(
        "output",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="The folder to copy them to; files of these names that are there already are kept, unless --force is "
        "given (default: only list them).",
    )
    _add_reporting(p)


def _add_machines(parser: argparse.ArgumentParser, on: str) -> None:
    parser.add_argument("--on", action="append", default=[], metavar="USER@HOST", help=on)
    parser.add_argument(
        "--fleet",
        metavar="FILE|PATTERN",
        help="Several machines at once: those of an Ansible inventory in INI format, or those in ssh's configuration "
        "whose names match a pattern such as 'pi*'.",
    )
    parser.add_argument(
        "--at-once",
        type=positive,
        metavar="N",
        help="With several machines: work on at most N of them at the same time (default: 8).",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help=THREADS_HELP)
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help="The runtime: litert, tflite, onnxruntime or openvino (default: the first installed one that opens the "
        "artifact).",
    )
    parser.add_argument("--provider", metavar="NAME", help=PROVIDER_HELP)


def _add_reporting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="Print JSON instead of tables, or write it to FILE: --json=FILE, or --json FILE if its name ends in "
        ".json.",
    )
    parser.add_argument(
        "--force", action="store_true", help="Replace a file that this command did not write by its output."
    )
    parser.add_argument("--quiet", action="store_true", help="Print neither stages nor progress.")
    parser.add_argument(
        "--verbose", action="store_true", help="Also print what libraries log, and where an error came from."
    )


def _add_completion(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("completion", help="print what makes a shell complete xedge's commands")  # type: ignore[attr-defined]
    p.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"), metavar="bash|zsh|fish|tcsh")
    p.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
