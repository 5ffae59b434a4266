#!/usr/bin/env python3
"""Measure int8 and every recipe of other tools for the families of Keras Applications and for trained networks.

    XEDGE_SHARED=DIR PYTHONPATH=. python benchmarks/families.py FOLDER [NAME ...] [--no-times]

The families have random weights and the statistics of real photos (``tests/families.py``). The networks with trained
weights are in XEDGE_SHARED; without it they are left out. Every artifact is made and measured in a process of its own,
in FOLDER, where the artifacts of a network take up to a gigabyte. What was measured is kept in docs/families and is not
measured again, unless ``--again`` names it: per network, a JSON file with the figures and an .npz file with the class
and the tv of each photo. The pages docs/peers.md and docs/models.md are written from all networks there.

Latencies mean something on an idle machine alone: ``--no-times`` leaves them out, and a later call without it measures
those that are missing. They are ratios within one run, so that all artifacts of a target have to be in the same FOLDER.
Without latencies, the smallest networks take four minutes each on two busy cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import recipes
from against_peers import processor, versions
from family_figures import BLOCKS, COMPARED, DOCS, MEASURED, RUNS, bundle_answers, fitting, megabytes
from family_pages import METHODS, PROVED, write_pages
from pooling import over_photos95

from tests.families import FAMILIES, network, prepared
from xedge.bundle.opening import opened
from xedge.conversion.reference import parity, read_reference
from xedge.converters import target_names
from xedge.metrics import class_probabilities, differences, drop_of_answers, photos_to_prove, wilson
from xedge.models.compact import embedded
from xedge.photos.preprocess import Preprocessing, scheme
from xedge.photos.sets import read_folder
from xedge.photos.stored import Photo
from xedge.processes import reason
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import open_classifier
from xedge.sources import Source
from xedge.sources.keras import SOURCE
from xedge.sources.keras.file import load_keras
from xedge.types import FloatArray, IntArray, Tensor, UInt8Array

TARGETS = target_names("all")
CALIBRATION = 100
# So many of the full-size photos of the test and validation splits are measured.
CLOTHING = 300
# The float artifact of this target, as xedge makes it, is the reference of all artifacts.
REFERENCE = "onnx"
BENCHMARKS = Path(__file__).resolve().parent
RESULTS = DOCS / "families"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that is measured.

    Args:
        name: The name in the tables.
        file: The path of a trained network in XEDGE_SHARED; None for a family, which is made.
        preprocess: The name of its preprocessing scheme.
        size: The height and width of its photos.
        clothing: Whether its outputs are the classes of the clothing photos, which it was trained on.
    """

    name: str
    file: str | None
    preprocess: str
    size: int
    clothing: bool = False

    @property
    def stem(self) -> str:
        """The name of the network's files in the folder."""
        return f"{self.name.partition(',')[0].replace(' ', '_')}{'_trained' if self.file else ''}"

    @property
    def results(self) -> Path:
        """The path of the file with its figures."""
        return RESULTS / f"{self.stem}.json"

    @property
    def photo_set(self) -> str:
        """The name of the set of photos that the network is measured on."""
        return "full-size clothing photos" if self.file else "embedded test photos"

    @property
    def calibration(self) -> Path:
        """The folder that the calibration photos are drawn from."""
        return clothing("train") if self.file else embedded.ROOT / "calibration"

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos become its input."""
        return scheme(self.preprocess, self.size, self.size, 3)

    def path(self, folder: Path) -> Path:
        """Return the path of its Keras file."""
        if self.file is None:
            return folder / self.stem / f"{self.stem}.keras"
        return Path(os.environ.get("XEDGE_SHARED", "")) / self.file

    def renamed(self, folder: Path) -> Path:
        """Return the path of a copy whose layers have names that TensorFlow takes, if those of the network are not."""
        return folder / self.stem / "renamed.keras"

    def job(self, folder: Path) -> recipes.Job:
        """Return what the recipes of other tools are told."""
        renamed = self.renamed(folder)
        return recipes.Job(
            network=str(renamed if renamed.exists() else self.path(folder)),
            folder=str(folder / self.stem),
            preprocess=self.preprocess,
            size=self.size,
            calibration=str(self.calibration),
            count=CALIBRATION,
            vnni=processor()[1] == "vnni",
        )


def trained(name: str, file: str, size: int, *, clothing: bool) -> Network:
    """Return a network with trained weights; all of them take pixels of -1 to 1."""
    return Network(name=name, file=file, preprocess="tf", size=size, clothing=clothing)


NETWORKS = {
    one.name: one
    for one in (
        *(Network(name=name, file=None, preprocess=it.preprocess, size=it.size) for name, it in FAMILIES.items()),
        trained("Compact Xception, clothing weights", str(embedded.MODEL), 128, clothing=True),
        trained("MobileNet, ImageNet weights", "models/imagenet_mobilenet_v1.keras", 224, clothing=False),
        trained("EfficientNet-Lite0, ImageNet weights", "models/efficientnet_lite0.keras", 224, clothing=False),
        trained("Xception, clothing weights", "data/xception_clothing.keras", 299, clothing=True),
    )
}


def main() -> int:
    """Measure what is missing, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the artifacts")
    parser.add_argument("names", nargs="*", metavar="NAME", help="measure only these networks")
    parser.add_argument("--no-times", action="store_true", help="leave the latencies out, on a busy machine")
    parser.add_argument("--again", nargs="+", choices=METHODS, default=[], help="make and measure these artifacts anew")
    parser.add_argument("--table", action="store_true", help="only write the pages from what was measured")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NETWORKS]
    if unknown:
        parser.error(f"no network {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    needing = [name for name in options.names if NETWORKS[name].file is not None]
    if needing and "XEDGE_SHARED" not in os.environ:
        parser.error(f"{needing[0]}: needs the photos in XEDGE_SHARED; set it to the folder that has data/clothing")
    if options.step:
        step, *arguments = options.step
        STEPS[step](NETWORKS[options.names[0]], options.folder, *arguments)
        return 0
    available = [one.name for one in NETWORKS.values() if one.file is None or "XEDGE_SHARED" in os.environ]
    for name in (options.names or available) if not options.table else ():
        measure(NETWORKS[name], options.folder, options.again, times=not options.no_times)
        write_pages(kept_results())
    write_pages(kept_results())
    return 0


def kept_results() -> list[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Return the figures of the networks that were measured, and what was kept of each photo."""
    measured = [one for one in NETWORKS.values() if one.results.exists()]
    return [(json.loads(one.results.read_text()), photos_of(one)) for one in measured]


def photos_of(one: Network) -> dict[str, Tensor]:
    """Return what was kept of each photo, by name; nothing if nothing was measured."""
    beside = one.results.with_suffix(".npz")
    return dict(np.load(beside)) if beside.exists() else {}


def measure(one: Network, folder: Path, again: list[str], *, times: bool) -> None:
    """Measure what is missing of a network, and keep it.

    Args:
        one: The network.
        folder: The folder of the artifacts.
        again: The methods that are measured again.
        times: Whether latencies are measured too.
    """
    (folder / one.stem).mkdir(parents=True, exist_ok=True)
    file = one.results
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"name": one.name}
    kept.pop("failed", None)
    try:
        for part in ("floats", "times"):
            kept.setdefault(part, {})
        rows_of = kept.setdefault("targets", {target: {} for target in TARGETS})
        missing = [name for name, it in METHODS.items() if it.method not in rows_of[it.target] or name in again]
        if "way" not in kept or (missing and not answers_file(one, folder, "reference").exists()):
            named = {key: kept[key] for key in ("processor", "vnni") if key in kept}
            kept |= begun(one, folder) | named
        for name in missing:
            method = METHODS[name]
            rows = rows_of[method.target]
            kept["times"].pop(method.target, None)
            if "reason" in kept["floats"].get(method.target, {}) and name in again:
                del kept["floats"][method.target]
            rows[method.method] = made_and_measured(one, folder, name, kept["floats"])
            if processor()[0] != kept["processor"]:
                rows[method.method]["processor"] = processor()[0]
            print(f"{one.name}: {name} {rows[method.method].get('reason', 'measured')}", flush=True)
            write_json(file, kept)
        for target in TARGETS if times else ():
            if target not in kept["times"]:
                kept["times"][target] = timed(one, folder, target, kept["targets"][target])
                write_json(file, kept)
    except StepError as error:
        kept["failed"] = str(error)
        print(f"{one.name}: {error}", flush=True)
    write_json(file, kept)


def write_json(file: Path, kept: dict[str, Any]) -> None:
    """Write the figures of a network."""
    file.write_text(json.dumps(kept, indent=1) + "\n")


class StepError(Exception):
    """A step failed without which there are no figures."""


def demanded(told: dict[str, Any]) -> None:
    """Go on only if a process did not fail.

    Raises:
        StepError: It failed.
    """
    if "reason" in told:
        raise StepError(told["reason"])


def begun(one: Network, folder: Path) -> dict[str, Any]:
    """Return what is known of a network before int8: how it is read, and on what it is measured."""
    for step in ("network", "rename", "photos", "compare"):
        demanded(run_step(one, folder, step))
    reference = folder / one.stem / "xedge_fp32"
    demanded(run_measured(conversion(one, folder, REFERENCE, "fp32", reference)))
    demanded(run_step(one, folder, "answers", str(reference), "reference"))
    compared: dict[str, Any] = json.loads((folder / one.stem / "compared.json").read_text())
    truth, answers = np.load(folder / one.stem / "truth.npy"), answers_of(one, folder, "reference")
    keep_photos(one, reference=answers.argmax(1), truth=truth)
    return {
        "processor": processor()[0],
        "vnni": processor()[1] == "vnni",
        "versions": versions(),
        "input": f"{one.size}x{one.size}",
        "photo_set": one.photo_set,
        "photos": len(answers),
        **compared,
        **({"top1": 100 * float((answers.argmax(1) == truth).mean())} if one.clothing else {}),
    }


def conversion(one: Network, folder: Path, target: str, precision: str, output: Path) -> list[str]:
    """Return the arguments with which Python runs ``xedge convert``."""
    given = {
        "--target": target,
        "--precision": precision,
        "--preprocess": one.preprocess,
        "--calibration": one.calibration,
        "--calibration-count": CALIBRATION,
        "--output": output,
    }
    options = [str(word) for pair in given.items() for word in pair]
    return ["-m", "xedge", "convert", str(one.path(folder)), *options, "--quiet"]


def made_and_measured(one: Network, folder: Path, name: str, floats: dict[str, Any]) -> dict[str, Any]:
    """Make an int8 artifact and return its row of the table, or the reason why there is none.

    Args:
        one: The network.
        folder: The folder of the artifacts.
        name: The name of the method.
        floats: What the float artifacts of other tools cost, by target; one that is missing is made and added.
    """
    method, before = METHODS[name], None
    made = artifact(one, folder, method.target, method.method)
    if method.recipe is None:
        cost = run_measured(conversion(one, folder, method.target, "int8", made))
    else:
        if method.recipe.of_float:
            before = kept_float(one, folder, method.target, floats)
            if "reason" in before:
                return {"reason": before["reason"]}
        cost = run_measured(recipes.command(method.method, one.job(folder)))
    if "reason" not in cost:
        cost |= run_step(one, folder, "answers", str(made), name)
    if "reason" in cost:
        return {"reason": cost["reason"]}
    row = figures_of(one, folder, name) | {"mb": size_mb(made)}
    if before is not None:
        cost = added(before, cost)
    return row | cost


def artifact(one: Network, folder: Path, target: str, method: str) -> Path:
    """Return the path of a method's artifact, or of xedge's bundle."""
    return folder / one.stem / f"xedge_{target}" if method == "xedge" else one.job(folder).path(method)


def kept_float(one: Network, folder: Path, target: str, floats: dict[str, Any]) -> dict[str, Any]:
    """Return what another tool's float artifact cost; one that is not there is made, and its cost is added."""
    made = one.job(folder).path(f"float_{target}").exists() or "reason" in floats.get(target, {})
    if target not in floats or not made:
        floats[target] = float_artifact(one, folder, target)
    cost: dict[str, Any] = floats[target]
    return cost


def float_artifact(one: Network, folder: Path, target: str) -> dict[str, Any]:
    """Make another tool's float artifact; return what it cost and its tv from the reference, or why there is none."""
    name = f"float_{target}"
    cost = run_measured(recipes.command(name, one.job(folder)))
    if "reason" in cost:
        return cost
    told = run_step(one, folder, "answers", str(one.job(folder).path(name)), name)
    if "reason" in told:
        return told
    found = differences(answers_of(one, folder, name), answers_of(one, folder, "reference"))
    return cost | {"tv": 100 * float(found.total_variation.mean())}


def added(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return what two processes cost that run one after the other."""
    return {
        "seconds": first["seconds"] + second["seconds"],
        "processor_seconds": first["processor_seconds"] + second["processor_seconds"],
        "peak_mb": max(first["peak_mb"], second["peak_mb"]),
    }


def figures_of(one: Network, folder: Path, name: str) -> dict[str, Any]:
    """Return the figures of an artifact's answers, with their 95 % intervals, and keep what it made of each photo."""
    found = differences(answers_of(one, folder, name), answers_of(one, folder, "reference"))
    answered = answers_of(one, folder, name).argmax(1)
    keep_photos(one, **{f"{name}_first": answered, f"{name}_tv": found.total_variation})
    low, high = wilson(int(found.same.sum()), len(found.same))
    row: dict[str, Any] = {
        "agreement": [100 * share for share in (float(found.same.mean()), low, high)],
        "tv": [100 * value for value in over_photos95([found.total_variation[None]])],
    }
    if one.clothing:
        kept = photos_of(one)
        row["drop"] = drop_figures(answered, kept["reference"], kept["truth"])
    return row


def drop_figures(answered: IntArray, reference: IntArray, truth: IntArray) -> dict[str, Any]:
    """Return the drop of top-1, and the photos that would prove it below ``PROVED``; each array has shape (N,)."""
    drop = drop_of_answers(answered, reference, truth)
    return {
        "points": drop.points,
        "interval95": drop.interval95,
        "mcnemar_p": drop.mcnemar_p,
        "photos_to_prove": photos_to_prove(drop.lost, drop.won, len(truth), PROVED),
    }


def keep_photos(one: Network, **arrays: Tensor) -> None:
    """Keep arrays with a value for each photo beside the figures."""
    RESULTS.mkdir(exist_ok=True)
    np.savez_compressed(one.results.with_suffix(".npz"), allow_pickle=False, **photos_of(one) | arrays)


def answers_of(one: Network, folder: Path, name: str) -> FloatArray:
    """Return the probabilities (N, classes) that an artifact gave."""
    answers: FloatArray = np.load(answers_file(one, folder, name))
    return answers


def answers_file(one: Network, folder: Path, name: str) -> Path:
    """Return the path of the probabilities that an artifact gave."""
    return folder / one.stem / f"{name}.npy"


def size_mb(made: Path) -> float:
    """Return the size of an artifact, or of the one in a bundle."""
    if made.is_dir():
        return megabytes(made)
    files = {made, made.with_suffix(".bin")}
    return sum(file.stat().st_size for file in files if file.exists()) / 1e6


def timed(one: Network, folder: Path, target: str, rows: dict[str, Any]) -> dict[str, list[float]]:
    """Return the median latency in milliseconds of each block of each artifact of a target, by method."""
    methods = [method for method, row in rows.items() if "reason" not in row]
    lost = [method for method in methods if not artifact(one, folder, target, method).exists()]
    if lost:
        raise StepError(f"{lost[0]} for {target} is not in {folder}; make all methods of this target with --again")
    demanded(run_step(one, folder, "times", target, *methods))
    found: dict[str, list[float]] = json.loads((folder / one.stem / f"times_{target}.json").read_text())
    return found


def run_step(one: Network, folder: Path, *step: str) -> dict[str, Any]:
    """Run one of the steps below in a process of its own; return the reason if it fails, and nothing otherwise."""
    # Networks are built with TensorFlow; the steps that only run artifacts are spared it, as xedge is.
    backend = "tensorflow" if step[0] in ("network", "compare") else "openvino"
    told = run_measured([__file__, str(folder), one.name, "--step", *step], KERAS_BACKEND=backend)
    return {"reason": told["reason"]} if "reason" in told else {}


def run_measured(arguments: list[str], **variables: str) -> dict[str, Any]:
    """Run Python in a process of its own; return its time and peak memory, or the reason why it failed.

    Args:
        arguments: The arguments of Python.
        variables: Environment variables to set.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} | variables
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        launcher = [sys.executable, "-I", "-S", str(BENCHMARKS / "process_cost.py"), file.name, sys.executable]
        done = subprocess.run([*launcher, *arguments], check=False, capture_output=True, text=True, env=environment)
        cost: dict[str, Any] = json.loads(Path(file.name).read_text() or '{"returncode": 1}')
    if code := cost.pop("returncode"):
        words = reason(subprocess.CompletedProcess(arguments, code, done.stdout, done.stderr))
        # A reason may have the path of a scratch folder, which means nothing to readers.
        return {"reason": re.sub(r"/\S*/", "", " ".join(words.split()))[:100].replace("|", "/")}
    return cost


def clothing(split: str) -> Path:
    """Return the folder of a split of the clothing photos."""
    return Path(os.environ["XEDGE_SHARED"]) / "data" / "clothing" / split


def make_network(one: Network, folder: Path) -> None:
    """Make the Keras file of a family: its head is fitted to photos that are neither measured nor calibrated on."""
    if one.file is not None or one.path(folder).exists():
        return
    plain, photos = scheme("raw", one.size, one.size, 3), embedded.test_photos()
    fitted = fitting()
    pixels = np.stack([plain.pixels(photos.files[at]) for at in fitted])
    network(one.name, prepared(one.name, pixels), np.array(photos.truth)[fitted]).save(one.path(folder))


def make_renamed(one: Network, folder: Path) -> None:
    """Copy a network whose layers have names that TensorFlow refuses; it does so when it loads them."""
    import keras  # noqa: PLC0415 - its backend was chosen for this step

    model = load_keras(Source(name=one.stem, path=one.path(folder), kind=SOURCE), allow_code=False)
    if not any(layer.name.startswith("_") for layer in model.layers):
        return

    def renamed(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "name": layer.name.lstrip("_")})

    copy = keras.models.clone_model(model, clone_function=renamed)
    copy.set_weights(model.get_weights())
    copy.save(one.renamed(folder))


def make_photos(one: Network, folder: Path) -> None:
    """Keep the pixels (N, H, W, C) of the photos that are measured, and their classes (N,)."""
    files, truth = measured_photos(one)
    np.save(folder / one.stem / "pixels.npy", np.stack([one.preprocessing.pixels(file) for file in files]))
    np.save(folder / one.stem / "truth.npy", truth)


def measured_photos(one: Network) -> tuple[list[Photo], IntArray]:
    """Return the photos that a network is measured on, and their classes (N,)."""
    if one.file is None:
        photos = embedded.test_photos()
        chosen = list(MEASURED)
        return [photos.files[at] for at in chosen], np.array(photos.truth)[chosen]
    splits = [read_folder(clothing(split)) for split in ("test", "validation")]
    if any(split.classes != embedded.labels() for split in splits):
        raise ValueError("the classes of the clothing photos are not those of the networks that were trained on them")
    files = [file for split in splits for file in split.files]
    truth = np.array([true for split in splits for true in split.truth])
    chosen = sorted(random.Random(0).sample(range(len(files)), CLOTHING))
    return [files[at] for at in chosen], truth[chosen]


def compare(one: Network, folder: Path) -> None:
    """Keep the way that a network takes, and how far its float reference is from Keras."""
    pixels = np.load(folder / one.stem / "pixels.npy", mmap_mode="r")[:COMPARED]
    photos, file = one.preprocessing.scaled(np.asarray(pixels)), one.path(folder)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        reference = read_reference(Source(name=file.stem, path=file, kind=SOURCE), Path(scratch))
        got, expected = reference.predict(photos), reference.original_predict(photos)
    close = {
        "way": reference.way,
        "difference": float(np.abs(got - expected).max()),
        "parity": parity(got, expected, "probabilities"),
    }
    (folder / one.stem / "compared.json").write_text(json.dumps(close))


def answer(one: Network, folder: Path, made: str, name: str) -> None:
    """Keep the probabilities (N, classes) that an artifact, or the one of a bundle, gives for the measured photos."""
    pixels, path = np.load(folder / one.stem / "pixels.npy"), Path(made)
    if path.is_dir():
        rows = bundle_answers(path, pixels)
    else:
        session = choose_runtime(path).open(path, Settings(threads=2, exact=True))
        rows = np.concatenate([session.run(one.preprocessing.scaled(photo[None])) for photo in pixels])
        rows = class_probabilities(rows, "probabilities")
    if not np.isfinite(rows).all():
        raise ValueError("its probabilities are not finite")
    np.save(answers_file(one, folder, name), rows)


def take_times(one: Network, folder: Path, target: str, *methods: str) -> None:
    """Keep the median latency of each block of inferences; the artifacts of a target take turns in one process."""
    pixels: UInt8Array = np.load(folder / one.stem / "pixels.npy", mmap_mode="r")[0]
    inferences = {method: opened_inference(one, folder, target, method, np.asarray(pixels)) for method in methods}
    found: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(BLOCKS):
        for method, infer in inferences.items():
            infer()
            found[method].append(float(np.median([milliseconds(infer) for _ in range(RUNS)])))
    (folder / one.stem / f"times_{target}.json").write_text(json.dumps(found))


def milliseconds(infer: Callable[[], object]) -> float:
    """Return how long an inference takes."""
    start = time.perf_counter_ns()
    infer()
    return (time.perf_counter_ns() - start) / 1e6


def opened_inference(one: Network, folder: Path, target: str, method: str, pixels: UInt8Array) -> Callable[[], object]:
    """Return a function that runs one inference of an artifact on one thread."""
    path = artifact(one, folder, target, method)
    if method == "xedge":
        with opened(path) as bundle:
            classifier = open_classifier(bundle.artifact, bundle.manifest, Settings(threads=1))
            given = classifier.input(pixels)
        return lambda: classifier.output(given)
    session, photo = choose_runtime(path).open(path, Settings(threads=1)), one.preprocessing.scaled(pixels[None])
    return lambda: session.run(photo)


STEPS: dict[str, Callable[..., None]] = {
    "network": make_network,
    "rename": make_renamed,
    "photos": make_photos,
    "compare": compare,
    "answers": answer,
    "times": take_times,
}


if __name__ == "__main__":
    sys.exit(main())
