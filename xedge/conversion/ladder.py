"""Climb from int8 to larger precisions until a budget holds, for any target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from xedge.bundle.manifest import Gate
from xedge.conversion.artifact import Artifact
from xedge.conversion.calibrated import Calibrated
from xedge.conversion.describe import gate_info, manifest_of
from xedge.converters import Form, Target
from xedge.device.board import usable_cores
from xedge.photos.sets import PhotoSet
from xedge.quantization.gate import Rung, Scored, Try, climb, judge
from xedge.quantization.rules import Rules
from xedge.quantization.sensitivity import Layer, NoiseMeter, layers, worst_first
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_classifier
from xedge.vocabulary import Precision

# So many of the worst layers in float, and these precisions, are rungs behind int8 as it is.
FLOAT_LAYERS = (1, 2, 4, 8)
LARGER: tuple[Precision, ...] = ("dynamic", "fp16")
NOISE_PHOTOS = 8
# What a rung is likely to take, in times of int8's; only their order counts. Xception on x86 with VNNI.
TIMES: dict[Precision, float] = {"dynamic": 1.4, "fp16": 4.0}
FLOAT_LAYER_TIMES = 5.0


class Ladder:
    """The rungs of one request; what is measured of the layers serves all its targets."""

    def __init__(self, calibrated: Calibrated) -> None:
        self._calibrated = calibrated
        self._order: dict[Rules, list[Layer]] = {}

    def within_budget(self, target: Target, first: Artifact, scratch: Path) -> tuple[Artifact, Gate]:
        """Climb from an int8 artifact to what keeps the budget; return it and how it was chosen."""
        calibrated, stages, subject = self._calibrated, self._calibrated.stages, self._calibrated.subject
        budget, photos, truth = subject.request.budget, calibrated.selection, calibrated.selection_truth()
        reference = subject.reference.predict(subject.preprocessed(photos, "selection reference", stages))

        def told(one: Try) -> None:
            lost = f", drop {one.outcome.drop.points:+.2f} points" if one.outcome.drop is not None else ""
            words = (
                f"{one.rung}: agreement {100 * one.outcome.agreement.agreement:.2f} %{lost}, {one.ms:.1f} ms: "
                f"{one.outcome.verdict}"
            )
            stages.report(f"{'rung':<10} {one.seconds:6.1f} s  {words}")

        got = climb(
            self._rungs(target, first, photos, scratch),
            lambda rows: judge(budget, rows, reference, truth),
            budget.time_s,
            stages.clock,
            told,
        )
        return got.made, gate_info(got, budget, photos)

    def _rungs(self, target: Target, first: Artifact, photos: PhotoSet, scratch: Path) -> Iterator[Rung[Artifact]]:
        """Yield int8 as it is, then what is closer to float, the cheapest first."""
        yield Rung(name="int8", make=lambda: self._scored(target, photos, first))
        if first.plan is None or first.form.io != "float32":
            return

        def attempt(form: Form, folder: str, nodes: Sequence[str] = ()) -> Scored[Artifact]:
            subject = self._calibrated.subject
            path = scratch / folder / f"{subject.request.source.name}_{form.precision}"
            logits = subject.request.options.logits
            made = subject.reference.artifact(
                target, form, path, self._calibrated, self._calibrated.stages, logits=logits, in_float=tuple(nodes)
            )
            return self._scored(target, photos, made)

        order = self._worst_layers(target, first, photos)
        total = sum(layer.multiply_accumulates for layer in order)
        rungs: list[tuple[float, Rung[Artifact]]] = []
        for count in (count for count in FLOAT_LAYERS if count <= len(order)):
            worst = order[:count]
            share = sum(layer.multiply_accumulates for layer in worst) / total
            make = partial(attempt, first.form, str(count), [name for layer in worst for name in layer.nodes])
            names = tuple(layer.name for layer in worst)
            rung = Rung(name=f"int8, {count} worst in float", make=make, in_float=names)
            rungs.append((1 + (FLOAT_LAYER_TIMES - 1) * share, rung))
        for precision in LARGER:
            make = partial(attempt, replace(first.form, precision=precision), precision)
            rungs.append((TIMES[precision], Rung(name=precision, make=make)))
        yield from (rung for _, rung in sorted(rungs, key=lambda pair: pair[0]))

    def _scored(self, target: Target, photos: PhotoSet, made: Artifact) -> Scored[Artifact]:
        """Classify the photos on this machine's runtime."""
        calibrated, clock = self._calibrated, self._calibrated.stages.clock
        settings = Settings(threads=usable_cores(), exact=True)
        classifier = open_classifier(made.files[0], manifest_of(calibrated, target, made), settings)
        rows, times = [], []
        for file in photos.files:
            tensor = classifier.input(calibrated.subject.preprocessing.pixels(file))
            start = clock()
            output = classifier.session.run(tensor)
            times.append(clock() - start)
            rows.append(classifier.probabilities(output))
        return Scored(made=made, rows=np.stack(rows), ms=1000 * median(times))

    def _worst_layers(self, target: Target, made: Artifact, photos: PhotoSet) -> list[Layer]:
        """The layers that make the most noise for their size, by a few of the selection photos."""
        if target.rules not in self._order:
            self._order[target.rules] = self._measured(made, photos)
        return self._order[target.rules]

    def _measured(self, made: Artifact, photos: PhotoSet) -> list[Layer]:
        subject, stages = self._calibrated.subject, self._calibrated.stages
        assert made.plan is not None
        assert made.graph is not None
        few = photos.sample(NOISE_PHOTOS, subject.request.options.seed)
        inputs = np.stack([subject.preprocessing.photo(file) for file in few.files])
        with stages.stage("analyze") as words:
            meter = NoiseMeter(made.graph, made.plan, inputs, subject.reference.output_kind)
            found = layers(made.graph, made.plan)
            order = worst_first(meter, found, lambda done: stages.progress(f"analyze {done}/{len(found)} layers"))
            words.append(f"noise of {len(found)} layers; the worst: {', '.join(one.name for one in order[:3])}")
        return order
