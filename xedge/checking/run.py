"""Convert, compare with the baseline, and judge: what ``xedge check`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from xedge.bundle.manifest import Manifest
from xedge.checking.baseline import find_baselines
from xedge.checking.bundles import against_of, judge_against, judge_integers
from xedge.checking.config import CheckConfig, key_of
from xedge.checking.judging import Budgets, Closeness, Judged, closeness, judge_closeness, judged, worst
from xedge.checking.report import Against, CheckedBundle, CheckReport
from xedge.conversion.options import ConvertOptions
from xedge.conversion.pipeline import Converted, bundle_name, convert
from xedge.conversion.request import forms
from xedge.converters import Form, find_target
from xedge.errors import InputError, XedgeError, parameter
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds
from xedge.sources.finding import find_source
from xedge.types import FloatArray, IntArray
from xedge.vocabulary import artifact_name

Report = Callable[[str], None]
INTEGERS = "integer_arithmetic"


def check(config: CheckConfig, folder: Path, *, kept: bool, report: Report, progress: Report) -> CheckReport:
    """Make the bundles of a file and judge them by its budgets.

    Args:
        config: What the file says.
        folder: The folder to write the bundles to.
        kept: Whether the bundles stay there, so that the report says where they are.
        report: A function that is told one line as each stage ends.
        progress: A function that is told how far a long stage is.

    Raises:
        XedgeError: Something cannot be read at all; what fails for one of the bundles is told in its row.
    """
    work = _Work(config=config, folder=folder, report=report, progress=progress)
    baselines = {} if config.baseline is None else find_baselines(config.baseline, work.names)
    work.check_apart(baselines)
    made = work.convert()
    against = _compared(config, made, baselines, work)
    bundles = tuple(work.checked(name, made.get(name), against.get(name), kept=kept) for name in work.names)
    return CheckReport(
        file=str(config.file),
        model=find_source(config.model, config.options.get("weights")).name,
        data=next((one.manifest.accuracy.data for one in made.values() if one.manifest.accuracy is not None), None),
        bundles=bundles,
        verdict=worst(one.verdict for one in bundles),
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is asked for, and what was learnt while it was made; arguments are those of ``check``."""

    config: CheckConfig
    folder: Path
    report: Report
    progress: Report
    closeness: dict[str, Closeness] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @cached_property
    def forms(self) -> dict[str, tuple[str, Form]]:
        """The target and the form of each artifact, by its name."""
        options = self._options(self.folder)
        wanted = [(target, form) for target in self.config.targets for form in forms(options, find_target(target))]
        return {artifact_name(target, form.precision, form.ranges): (target, form) for target, form in wanted}

    @property
    def names(self) -> list[str]:
        """The names of the artifacts."""
        return list(self.forms)

    def _options(self, output: Path) -> ConvertOptions:
        places: dict[str, Any] = {name: place for name, place in self.config.places.items() if name != "baseline"}
        return ConvertOptions(
            model=self.config.model,
            target=self.config.targets,
            precision=self.config.precisions,
            output=output,
            report=self.report,
            progress=self.progress,
            failed=self._failed,
            scored=self._scored,
            **places,
            **self.config.options,
        )

    def _failed(self, target: str, precision: str, error: XedgeError) -> None:
        for name, (other, form) in self.forms.items():
            if (other, form.precision) == (target, precision):
                self.errors[name] = self.worded(error)

    def _scored(self, manifest: Manifest, rows: FloatArray, reference: FloatArray, truth: IntArray) -> None:
        self.closeness[manifest.artifact_name] = closeness(rows, reference, truth)

    def worded(self, error: XedgeError) -> str:
        """Return an error's message with the names that options have in the file."""
        return error.worded(key_of)

    def check_apart(self, baselines: Mapping[str, Path]) -> None:
        """Refuse to write a bundle over the baseline, with which it would then be compared.

        Raises:
            InputError: A bundle has the place of its baseline.
        """
        places = {(self.folder / bundle_name(*form)).resolve() for form in self.forms.values()}
        for path in baselines.values():
            if path.resolve() in places:
                raise InputError(
                    f"{path}: is the baseline, which the new bundle would replace; choose another {parameter('output')}"
                )

    def convert(self) -> dict[str, Converted]:
        """Make the bundles and return those that could be made, by the names of their artifacts."""
        names, folder = self.names, self.folder
        if len(names) == 1:  # A single bundle would land in the folder itself.
            folder /= bundle_name(*self.forms[names[0]])
        try:
            made = convert(self._options(folder))
        except XedgeError as error:
            raise type(error)(f"{self.config.file}: {self.worded(error)}") from error
        return {one.manifest.artifact_name: one for one in made}

    def checked(self, name: str, made: Converted | None, against: Against | str | None, *, kept: bool) -> CheckedBundle:
        """Judge one bundle by its budget.

        Args:
            name: The name of its artifact.
            made: The bundle; None if it could not be made.
            against: How it compares with the baseline, or why it did not run; None without a baseline.
            kept: Whether the bundle stays where it is.
        """
        budgets, error = self.config.budgets(self.forms[name][1].precision), self.errors.get(name)
        verdicts: list[Judged] = []
        if isinstance(against, str):
            error, against = against, None
        if made is not None and error is None:
            verdicts = [*self._judged(name, budgets, made), *judge_against(budgets, against)]
        return CheckedBundle(
            name=name,
            path=str(made.path) if made is not None and kept else None,
            artifact_bytes=made.artifact_bytes if made is not None else None,
            accuracy=made.manifest.accuracy.artifact if made is not None and made.manifest.accuracy else None,
            closeness=self.closeness.get(name),
            against=against,
            judged=tuple(verdicts),
            error=error if made is not None else error or "it could not be made",
        )

    def _judged(self, name: str, budgets: Budgets, made: Converted) -> list[Judged]:
        verdicts = judge_closeness(budgets, self.closeness[name]) if name in self.closeness else []
        if budgets.max_size_mb is not None:
            verdicts.append(judged("max_size_mb", budgets.max_size_mb, made.artifact_bytes / 1e6, None))
        if made.manifest.precision == "int8":
            self.progress(f"{name}: what its runtime executes")
            verdicts.append(judge_integers(name, made.path))
        return verdicts


def _compared(
    config: CheckConfig, made: dict[str, Converted], baselines: dict[str, Path], work: _Work
) -> dict[str, Against | str]:
    """Run bundles and their baselines in turns, and return the comparisons, or why a bundle did not run."""
    paths = [path for name in made if name in baselines for path in (baselines[name], made[name].path)]
    if not paths:
        return {}
    found = dict(zip(dict.fromkeys(paths), _measured(config, paths, work.progress), strict=True))
    against: dict[str, Against | str] = {}
    for name, path in baselines.items():
        if name not in made:
            continue
        before, after = found[path], found[made[name].path]
        if isinstance(before, XedgeError):
            raise type(before)(f"{config.file}: baseline: {before}")
        against[name] = str(after) if isinstance(after, XedgeError) else against_of(path, before, after)
    return against


def _measured(config: CheckConfig, paths: Sequence[Path], progress: Report) -> list[Measured | XedgeError]:
    how, places = config.measuring, config.places
    plan = Plan(
        rounds=how.rounds,
        runs=how.runs,
        threads=how.threads,
        data=Path(places["data"]) if "data" in places else None,
        truth=Path(places["truth"]) if "truth" in places else None,
    )
    return measure_in_rounds(list(dict.fromkeys(paths)), plan, progress)
