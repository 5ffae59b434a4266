"""The command line: every command and its options, without importing what they run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from xedge import __version__
from xedge.cli.values import batch, cooldown, one_target, percent, points, positive, rate, seconds
from xedge.errors import EXIT_CODES, UsageError
from xedge.names import not_known, precision_names, target_names
from xedge.vocabulary import SCHEMES


class _Parser(argparse.ArgumentParser):
    """argparse with errors of our kind: one line, with a guess at what was meant."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            raise UsageError(not_known(str(action.metavar or action.dest), str(value), list(action.choices)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    top = _Parser(
        prog="xedge",
        description="Convert, quantize, run and measure convolutional image classifiers on edge devices.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"xedge {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_convert(commands)
    _add_run(commands)
    _add_predict(commands)
    _add_verify(commands)
    _add_analyze(commands)
    _add_cost(commands)
    _add_compare(commands)
    _add_benchmark(commands)
    _add_report(commands)
    _add_info(commands)
    _add_doctor(commands)
    _add_deploy(commands)
    _add_completion(commands)
    return top


PROVIDER_HELP = "cpu (default); cuda or tensorrt of onnxruntime, gpu or npu of openvino"
Commands = "argparse._SubParsersAction[_Parser]"


def _add_convert(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("convert", help="make a bundle of a Keras model")  # type: ignore[attr-defined]
    p.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help=".keras, .h5, SavedModel folder, or xception, inception_v3, resnet50 with --weights; "
        "without it the compact Xception that comes with xedge",
    )
    p.add_argument(
        "--target",
        type=target_names,
        required=True,
        help="tflite (also called litert), onnx, openvino, a,b or all; tensorrt for a Jetson",
    )
    p.add_argument(
        "--precision", type=precision_names, default=("fp32",), help="fp32 (default), fp16, dynamic, int8, a,b or all"
    )
    p.add_argument("--output", type=Path, metavar="DIR", help="the bundle's folder; with several, the folder of them")
    p.add_argument("--weights", metavar="imagenet|FILE", help="weights for a built-in name")
    p.add_argument(
        "--io",
        choices=("float32", "int8", "uint8"),
        default="float32",
        help="ends of an int8 artifact: float32, or integers (int8 for tflite, uint8 pixels for onnx and openvino)",
    )
    p.add_argument(
        "--batch", type=batch, default=1, metavar="N|dynamic", help="photos at once (1); onnx and openvino take others"
    )
    p.add_argument("--pixels", action="store_true", help="take uint8 pixels: the preprocessing is in the artifact")
    p.add_argument("--logits", action="store_true", help="leave the softmax to the runner")
    p.add_argument("--calibration", type=Path, metavar="DIR|FILE", help="photos, .npy or .npz that fix int8 ranges")
    p.add_argument("--calibration-count", type=positive, default=100, metavar="N", help="how many of them (100)")
    p.add_argument("--seed", type=int, default=0, help="chooses them (0)")
    p.add_argument("--data", type=Path, metavar="DIR", help="labelled photos to score on, in class folders")
    p.add_argument("--max-drop", type=points, metavar="POINTS", help="budget of int8: top-1 that may be lost")
    p.add_argument("--min-agreement", type=percent, metavar="PERCENT", help="budget of int8: agreement with float")
    p.add_argument("--time-budget", type=seconds, metavar="TIME", help="begin no other attempt after 30s, 10m, 1h")
    p.add_argument(
        "--selection", type=Path, metavar="DIR", help="photos to judge a budget on; default: calibration's others"
    )
    p.add_argument("--selection-count", type=positive, default=300, metavar="N", help="how many of them (300)")
    p.add_argument("--labels", type=Path, metavar="FILE", help="class names in the order of the outputs, one a line")
    p.add_argument(
        "--preprocess", choices=SCHEMES, help="how photos were scaled in training; guessed and told if left out"
    )
    p.add_argument("--crop", choices=("none", "center"), default="none", help="fit photos by stretching, or by cutting")
    p.add_argument("--zip", action="store_true", help="write one zip for each bundle")
    p.add_argument(
        "--report", type=Path, metavar="FILE", help="then run the bundles here and write a page, as report does"
    )
    p.add_argument("--allow-code", action="store_true", help="run code that the model file brings (Lambda layers)")
    _add_reporting(p)


def _add_run(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("run", help="test, time and score a bundle on this machine")  # type: ignore[attr-defined]
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    p.add_argument("--on", metavar="USER@HOST", help="on another machine, over ssh; takes several bundles")
    p.add_argument("--wheels", type=Path, metavar="DIR", help="with --on: wheels for a machine without internet")
    p.add_argument("--data", type=Path, metavar="DIR", help="labelled photos; the embedded model has its own")
    p.add_argument("--limit", type=positive, metavar="N", help="score on N of the photos, chosen by a fixed seed")
    p.add_argument(
        "--no-accuracy", action="store_true", help="time alone, where the embedded model's photos would be scored"
    )
    p.add_argument("--runs", type=positive, metavar="N", help="time N inferences")
    p.add_argument("--duration", type=seconds, metavar="TIME", help="time inferences for 30s, 10m, 1h")
    p.add_argument("--rate", type=rate, metavar="FPS", help="frames come at this rate, ready or not; some may be lost")
    p.add_argument("--cooldown", type=cooldown, metavar="TIME|TEMP", help="wait before, 60s or until 50C")
    p.add_argument(
        "--against", type=Path, metavar="BUNDLE", help="another bundle of the same model, its fp32 above all, in turns"
    )
    _add_execution(p)
    _add_reporting(p)


def _add_predict(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("predict", help="print the top classes of photos")  # type: ignore[attr-defined]
    p.add_argument("bundle", type=Path, metavar="BUNDLE")
    p.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    p.add_argument("--top", type=positive, default=3, metavar="N", help="how many classes (3)")
    _add_execution(p)
    _add_reporting(p)


def _add_verify(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "verify", help="compare bundles of one model with each other and with Keras, and audit int8"
    )
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    p.add_argument("--data", type=Path, metavar="DIR", help="photos; without them the bundle's golden ones")
    p.add_argument("--limit", type=positive, metavar="N", help="N of the photos, chosen by a fixed seed")
    p.add_argument(
        "--model", type=Path, metavar="FILE", help="the Keras file, where it does not lie beside the bundles"
    )
    p.add_argument("--min-agreement", type=percent, default=95.0, metavar="PERCENT", help="demanded of every pair (95)")
    p.add_argument("--max-difference", type=float, metavar="P", help="greatest difference of a probability allowed")
    p.add_argument("--threads", type=positive, metavar="N", help="default: the cores, 4 at most")
    p.add_argument("--provider", metavar="NAME", help=PROVIDER_HELP)
    _add_reporting(p)


def _add_analyze(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("analyze", help="tell which layers of a model lose accuracy in int8, and how")  # type: ignore[attr-defined]
    p.add_argument("model", nargs="?", metavar="MODEL", help="as for convert")
    p.add_argument("--weights", metavar="imagenet|FILE", help="weights for a built-in name")
    p.add_argument("--calibration", type=Path, metavar="DIR|FILE", help="photos, .npy or .npz that fix int8 ranges")
    p.add_argument("--calibration-count", type=positive, default=100, metavar="N", help="how many of them (100)")
    p.add_argument("--seed", type=int, default=0, help="chooses them (0)")
    p.add_argument("--data", type=Path, metavar="DIR", help="photos to measure noise on; default: calibration's others")
    p.add_argument("--target", type=one_target, default="onnx", help="whose int8 (onnx); tflite tells no times")
    p.add_argument("--photos", type=positive, default=8, metavar="N", help="how many of them (8)")
    p.add_argument("--top", type=positive, metavar="N", help="print the N noisiest layers alone")
    p.add_argument("--preprocess", choices=SCHEMES, help="as for convert")
    p.add_argument("--crop", choices=("none", "center"), default="none", help="as for convert")
    p.add_argument("--allow-code", action="store_true", help="run code that the model file brings (Lambda layers)")
    _add_reporting(p)


def _add_cost(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("cost", help="count parameters, multiply-accumulates and memory, layer by layer")  # type: ignore[attr-defined]
    p.add_argument("model", nargs="?", metavar="MODEL", help="as for convert; built-in names need no weights")
    p.add_argument("--compare", action="store_true", help="Xception, Inception V3 and ResNet-50 side by side")
    p.add_argument("--top", type=positive, metavar="N", help="print the N costliest layers alone")
    p.add_argument("--allow-code", action="store_true", help="run code that the model file brings")
    _add_reporting(p)


def _add_compare(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("compare", help="put runs side by side and say which differences are noise")  # type: ignore[attr-defined]
    p.add_argument(
        "things",
        type=Path,
        nargs="+",
        metavar="RUN.json|BUNDLE",
        help="what run --json wrote; bundles are run in turns",
    )
    p.add_argument("--across", action="store_true", help="also compare timings of different boards")
    p.add_argument("--data", type=Path, metavar="DIR", help="labelled photos for bundles")
    p.add_argument("--limit", type=positive, metavar="N", help="score bundles on N of the photos")
    p.add_argument("--threads", type=positive, metavar="N", help="default: the cores, 4 at most")
    _add_rounds(p)
    p.add_argument("--markdown", action="store_true", help="print tables for a document")
    _add_reporting(p)


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="turns of each bundle (5)")
    parser.add_argument("--runs", type=positive, default=30, metavar="N", help="inferences timed in a turn (30)")


def _add_benchmark(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser(  # type: ignore[attr-defined]
        "benchmark", help="convert to every target and precision, measure all in turns, and say which to take here"
    )
    p.add_argument("model", nargs="?", metavar="MODEL", help="as for convert")
    p.add_argument("--target", type=target_names, default="all", help="as for convert (all)")
    p.add_argument("--precision", type=precision_names, default="all", help="as for convert (all)")
    p.add_argument("--output", type=Path, metavar="DIR", help="keep the bundles there")
    p.add_argument("--weights", metavar="imagenet|FILE", help="weights for a built-in name")
    p.add_argument("--calibration", type=Path, metavar="DIR|FILE", help="photos, .npy or .npz that fix int8 ranges")
    p.add_argument("--data", type=Path, metavar="DIR", help="labelled photos to score on, in class folders")
    p.add_argument("--limit", type=positive, metavar="N", help="score what runs on N of the photos")
    p.add_argument("--labels", type=Path, metavar="FILE", help="class names in the order of the outputs, one a line")
    p.add_argument("--preprocess", choices=SCHEMES, help="as for convert")
    p.add_argument("--threads", type=positive, metavar="N", help="default: the cores, 4 at most")
    _add_rounds(p)
    p.add_argument(
        "--tolerate", type=points, default=1.0, metavar="POINTS", help="top-1 that the recommended may lose (1)"
    )
    p.add_argument("--report", type=Path, metavar="FILE", help="also write a page, as xedge report does")
    p.add_argument("--markdown", action="store_true", help="print the table for a document")
    p.add_argument("--allow-code", action="store_true", help="run code that the model file brings (Lambda layers)")
    _add_reporting(p)


def _add_report(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("report", help="make one page of runs that opens offline")  # type: ignore[attr-defined]
    p.add_argument(
        "documents",
        type=Path,
        nargs="+",
        metavar="RUN.json",
        help="what run, benchmark, verify and analyze --json wrote",
    )
    p.add_argument(
        "--output", "-o", type=Path, default=Path("report.html"), metavar="FILE", help="report.html if left out"
    )
    p.add_argument("--data", type=Path, metavar="DIR", help="the photos that were scored, where they lie elsewhere now")
    p.add_argument("--title", metavar="TEXT", help="heading of the page")
    _add_reporting(p)


def _add_info(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("info", help="describe a model, an artifact or a bundle")  # type: ignore[attr-defined]
    p.add_argument("thing", metavar="MODEL|ARTIFACT|BUNDLE")
    p.add_argument("--weights", metavar="imagenet|FILE", help="weights for a built-in name")
    p.add_argument("--allow-code", action="store_true", help="run code that the model file brings")
    _add_reporting(p)


def _add_doctor(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("doctor", help="say whether this machine can run bundles, and what to install")  # type: ignore[attr-defined]
    p.add_argument("--for", dest="bundle", type=Path, metavar="BUNDLE", help="also try this bundle")
    p.add_argument("--report", action="store_true", help="print what belongs into an issue, the last error included")
    _add_reporting(p)


def _add_deploy(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("deploy", help="make another machine ready to run bundles, over ssh")  # type: ignore[attr-defined]
    p.add_argument("destination", metavar="USER@HOST")
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    p.add_argument("--wheels", type=Path, metavar="DIR", help="wheels for a machine without internet")
    _add_reporting(p)


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the cores, 4 at most")
    parser.add_argument(
        "--runtime", metavar="NAME", help="litert, tflite, onnxruntime or openvino; default: the first for the target"
    )
    parser.add_argument("--provider", metavar="NAME", help=PROVIDER_HELP)


def _add_reporting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="print JSON instead of tables, or write it to FILE"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no stages")
    parser.add_argument("--verbose", action="store_true", help="what libraries log, and where an error came from")


def _add_completion(commands: Commands) -> None:  # type: ignore[valid-type]
    p = commands.add_parser("completion", help="print what makes a shell complete xedge's commands")  # type: ignore[attr-defined]
    p.add_argument("shell", choices=("bash", "zsh", "tcsh"), metavar="bash|zsh|tcsh")
    p.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
