"""``xedge info``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from xedge.bundle.manifest import OwnSize, TensorSpec
from xedge.bundle.opening import opened
from xedge.bundle.reading import MANIFEST, Bundle
from xedge.cli.console import Console, drop_text, fields, megabytes, percent
from xedge.cli.options import refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.cli.verify import audit_text
from xedge.codec import to_json
from xedge.errors import InputError
from xedge.files import sha256
from xedge.measuring.starting import RunOptions
from xedge.runtimes import Session, Settings, choose_runtime, runtimes
from xedge.runtimes.audit import audit
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.runtimes.trial import tried

SCHEMA = "xedge.info/1"
OUTPUT_WORDS = {
    "probabilities": "probabilities",
    "logits": "logits",
    "probability": "the probability of the second class, which is chosen from 0.5 on",
    "logit": "the logit of the second class, which is chosen from 0 on",
}


def main(options: argparse.Namespace) -> int:
    """Describe a bundle, an artifact or a model."""
    console = Console(options.json, options.quiet)
    path = Path(options.thing)
    bundled = (path.is_dir() and (path / MANIFEST).is_file()) or path.suffix == ".zip"
    if bundled or any(path.suffix in runtime.suffixes for runtime in runtimes()):
        own = commands_of(parser())["info"]
        refuse_idle(options, own, ("weights", "size", "allow_code"), f"on {path}: it is for models that are converted")
    if bundled:
        with opened(path) as bundle:
            settings = Settings(threads=RunOptions().thread_count())
            found = audit(open_bundle_classifier(bundle, settings)[0].session)
            # Only the JSON document holds what was answered class by class, so that the text does not wait for it.
            answered = bundle.confusion() if options.json is not None else None
            document = {
                "schema": SCHEMA,
                **to_json(bundle.manifest),
                "confusion": to_json(answered),
                "audit": to_json(found),
            }
            console.result(document, f"{fields(_bundle(bundle))}\n\n{audit_text(found)}")
    elif any(path.suffix in runtime.suffixes for runtime in runtimes()):
        session = _session(path)
        found = audit(session)
        facts = _artifact(path, session)
        console.result(
            {"schema": SCHEMA, **dict(facts), "audit": to_json(found)}, f"{fields(facts)}\n\n{audit_text(found)}"
        )
    else:
        facts = _model(options)
        console.result({"schema": SCHEMA, **dict(facts)}, fields(facts))
    return 0


def _bundle(bundle: Bundle) -> list[tuple[str, str]]:
    m = bundle.manifest
    lines = [
        ("bundle", f"{bundle.root.name}: every file matches its sha256"),
        ("model", f"{m.model.name}, {m.model.parameters / 1e6:.2f} M parameters, from {m.model.source}"),
        ("artifact", f"{m.artifact}: {m.artifact_name}, {megabytes(bundle.artifact_bytes)}"),
        ("way", m.recipe.way + (f" ({m.recipe.reason})" if m.recipe.reason else "")),
        ("input", _end(m.input)),
        ("output", f"{_end(m.output)}, {OUTPUT_WORDS[m.output_kind]}"),
        ("preprocessing", _preprocessing(bundle)),
        (
            "labels",
            f"{len(bundle.labels)}: {', '.join(bundle.labels[:10])}{', ...' if len(bundle.labels) > 10 else ''}",
        ),
    ]
    if m.own_size is not None:
        lines.append(("own size", _own_size(m.own_size)))
    if m.recipe.weights:
        lines.append(("weights", m.recipe.weights))
    if m.recipe.activations:
        left = f"; {len(m.recipe.float_nodes)} nodes in float" if m.precision == "int8" else ""
        lines.append(("activations", f"{m.recipe.activations}{left}"))
    if m.calibration:
        lines.append(("calibration", f"{m.calibration.photos} photos from {m.calibration.source}"))
    if m.accuracy:
        measured = m.accuracy
        figures = f"top-1 {percent(measured.artifact.top1)} on {measured.artifact.photos} photos"
        against = "not compared with a float reference"
        if measured.drop_points is not None and measured.agreement is not None:
            # Older bundles kept both accuracies alone.
            drop = f"drop {measured.drop_points:+.2f} points" if measured.drop is None else drop_text(measured.drop)
            against = f"{drop}, agreement {percent(measured.agreement.agreement)}"
        lines.append(("accuracy", f"{figures}, {against}"))
    lines.append(
        ("wrapped by" if m.wrapped else "made by", ", ".join(f"{name} {version}" for name, version in m.tools.items()))
    )
    return lines


def _own_size(own: OwnSize) -> str:
    words = f"the model was made for {own.height}x{own.width}"
    if own.drop is None or own.agreement is None:
        return words
    same = percent(own.agreement.agreement)
    return f"{words}, where float has {own.drop.points:.2f} points more top-1; agreement {same}"


def _end(spec: TensorSpec) -> str:
    shape = "x".join(str(size) for size in spec.shape)
    return f"{spec.name} {shape} {spec.dtype}"


def _preprocessing(bundle: Bundle) -> str:
    p = bundle.manifest.preprocessing
    scale, offset = (", ".join(f"{value:.6g}" for value in values) for values in (p.scale, p.offset))
    return f"{p.fitting}, {p.colour}, pixel * ({scale}) + ({offset})"


def _session(artifact: Path) -> Session:
    if not artifact.is_file():
        raise InputError(f"{artifact}: there is no such artifact")
    runtime, settings = choose_runtime(artifact), Settings(threads=RunOptions().thread_count())
    runtime.load()
    tried(artifact, sha256(artifact), runtime, settings, lambda: audit(runtime.open(artifact, settings)))
    return runtime.open(artifact, settings)


def _artifact(path: Path, session: Session) -> list[tuple[str, str]]:
    execution = session.execution()
    weights = path.with_suffix(".bin")
    size = path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)
    return [
        ("artifact", f"{path.name}, {megabytes(size)}"),
        ("input", "x".join(map(str, session.input_shape()))),
        ("runtime", f"{execution.runtime} {execution.version}"),
    ]


def _model(options: argparse.Namespace) -> list[tuple[str, str]]:
    import tempfile  # noqa: PLC0415 - describing a bundle on a device needs none of these

    from xedge.conversion.reference import GraphReference, read_reference  # noqa: PLC0415
    from xedge.sources.finding import find_source  # noqa: PLC0415

    source = replace(find_source(options.thing, options.weights), size=options.size)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        reference = read_reference(source, Path(scratch), allow_code=options.allow_code)
        lines = [
            ("model", f"{source}, {reference.parameters / 1e6:.2f} M parameters (batch normalization folded)"),
            ("input", "x".join(map(str, reference.input_shape))),
            ("classes", str(reference.classes)),
            ("output", OUTPUT_WORDS[reference.output_kind]),
            ("converts by", f"the {reference.way}"),
        ]
        if isinstance(reference, GraphReference):
            lines.append(("nodes", str(len(reference.graph.nodes))))
    return lines
