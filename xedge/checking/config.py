"""Read ``xedge.toml``: the model, the photos, what to make of the model, and what it has to keep."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xedge.bundle.reading import MANIFEST
from xedge.checking.judging import LIMITS, Budgets
from xedge.codec import from_json
from xedge.conversion.options import ConvertOptions
from xedge.converters import Form, find_target, target_names
from xedge.errors import BundleError, InputError, UsageError, XedgeError, not_known
from xedge.files import read_text
from xedge.photos.reading import check_named
from xedge.vocabulary import BUILT_IN, COMPACT, SCHEME_FILES, SCHEMES, Precision, precision_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = "xedge.toml"
LARGEST_FILE_BYTES = 1 << 20
# Keys at the top of the file whose values are paths relative to it.
PATHS = ("data", "truth", "calibration", "labels", "baseline")
TOP = ("model", *PATHS, "targets", "precisions", "convert", "measure", "budget")
# Options of convert that are keys at the top of the file, or that a check decides itself.
NOT_OPTIONS = (
    *("model", "target", "precision", "output", "zipped", "report", "progress", "failed", "scored"),
    *("data", "truth", "calibration", "labels", "max_drop_points", "min_agreement", "time_budget_s"),
    *("selection", "selection_count"),
)
OPTIONS = tuple(one.name for one in dataclasses.fields(ConvertOptions) if one.name not in NOT_OPTIONS)
FEWEST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How bundles are timed against the baseline, in turns.

    Args:
        rounds: The number of turns of each bundle.
        runs: The number of inferences that are timed in a turn.
        threads: The number of threads for one inference; None takes the default of ``run``.
    """

    rounds: int = 5
    runs: int = 30
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.rounds < FEWEST_ROUNDS:
            raise ValueError(f"rounds = {self.rounds}: give at least {FEWEST_ROUNDS}, without which no ratio is known")
        if self.runs < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError("runs and threads: give a whole number from 1")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What a file says, with its paths relative to the current folder.

    Args:
        file: The file.
        model: The model's file or folder, or its built-in name; None is the compact Xception that comes with xedge.
        targets: The names of the targets.
        precisions: The precisions.
        places: The paths of ``PATHS`` that are given, by their keys.
        options: Other options of ``convert``, by their names in Python.
        measuring: How bundles are timed.
        budget: The limits for all bundles.
        special: The limits of each precision, which go before those for all bundles.
    """

    file: Path
    model: str | None
    targets: tuple[str, ...]
    precisions: tuple[Precision, ...]
    places: Mapping[str, str]
    options: Mapping[str, Any]
    measuring: Measuring
    budget: Budgets
    special: Mapping[str, Budgets]

    @property
    def baseline(self) -> Path | None:
        """The bundle, or folder of bundles, that was released last."""
        return Path(self.places["baseline"]) if "baseline" in self.places else None

    def budgets(self, precision: str) -> Budgets:
        """Return the limits for bundles of a precision."""
        own = self.special.get(precision)
        return self.budget if own is None else dataclasses.replace(self.budget, **dict(own.given()))


def key_of(option: str) -> str:
    """Return what an option of ``convert`` is called in a file, for messages."""
    known = {"target": "targets", "precision": "precisions", **{name: name for name in ("model", *PATHS)}}
    return known.get(option, f"convert.{option}")


def read_config(file: Path) -> CheckConfig:
    """Read the file of a check.

    Raises:
        InputError: The file is missing or is not TOML, a key is unknown, missing or of the wrong type, a budget is
            impossible, or a path leads nowhere.
    """
    document = _parsed(file)
    try:
        return _config(file, document)
    except (UsageError, ValueError) as error:
        raise InputError(f"{file}: {error}") from error


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file, LARGEST_FILE_BYTES))
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file; `xedge init` writes one") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f'{file}: is not TOML: {error}; write each key as name = value, and text in "quotes"'
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _config(file: Path, document: Mapping[str, Any]) -> CheckConfig:
    _known("", document, TOP)
    config = CheckConfig(
        file=file,
        model=_model(file, document),
        targets=target_names(_names(document, "targets", '["tflite"]')),
        precisions=precision_names(_names(document, "precisions", '["int8"]')),
        places={name: _place(file, _text(name, document[name])) for name in PATHS if name in document},
        options=_options(file, _table(document, "convert")),
        measuring=_filled(Measuring, "measure", _table(document, "measure")),
        **_budgets(_table(document, "budget")),
    )
    _check_forms(config)
    _check_budgets(config)
    _check_places(config)
    return config


def _known(where: str, table: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in table:
        if name not in names:
            raise UsageError(f"{where}{name}: {not_known('key', name, list(names))}")


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{name}: should be a table, but is {table!r}; write [{name}] and its keys below")
    return table


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f'{name}: should be a text, but is {value!r}; write {name} = "..."')
    return value


def _names(document: Mapping[str, Any], name: str, example: str) -> list[str]:
    value = document.get(name)
    if value is None:
        raise UsageError(f"{name}: is missing; write {name} = {example}")
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
        raise UsageError(f"{name}: should be a list of names, but is {value!r}; write {name} = {example}")
    return listed


def _place(file: Path, text: str) -> str:
    """Return a path relative to the file as one relative to the current folder; addresses stay as they are."""
    return text if "://" in text else str(file.parent / text)


def _model(file: Path, document: Mapping[str, Any]) -> str | None:
    if "model" not in document:
        return None
    name = _text("model", document["model"])
    return name if name in (*BUILT_IN, COMPACT) else _place(file, name)


def _options(file: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    _known("convert.", table, OPTIONS)
    hints = typing.get_type_hints(ConvertOptions)
    options = {}
    for name, value in table.items():
        try:
            options[name] = from_json(hints[name], value, f"convert.{name}")
        except BundleError as error:
            raise UsageError(f"{error}; see the option {name} of xedge convert") from error
    return options | _option_places(file, options)


def _option_places(file: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options whose values name files, with paths relative to the current folder."""
    found = {}
    if options.get("weights") not in (None, "imagenet"):
        found["weights"] = _place(file, options["weights"])
    kind, colon, path = (options.get("preprocess") or "").partition(":")
    if colon and kind in SCHEME_FILES:
        found["preprocess"] = f"{kind}:{_place(file, path)}"
    elif options.get("preprocess") not in (None, *SCHEMES):
        raise UsageError(f"convert.preprocess: {not_known('preprocessing', options['preprocess'], SCHEMES)}")
    return found


def _filled(kind: type[Any], where: str, table: Mapping[str, Any]) -> Any:
    """Return a dataclass of a table of the file, checked."""
    _known(f"{where}.", table, [one.name for one in dataclasses.fields(kind)])
    try:
        return from_json(kind, dict(table), where)
    except BundleError as error:
        raise UsageError(str(error)) from error


def _budgets(table: Mapping[str, Any]) -> dict[str, Any]:
    _known("budget.", table, [*LIMITS, *precision_names("all")])
    own = {name: value for name, value in table.items() if name not in LIMITS}
    for name, value in own.items():
        if not isinstance(value, dict):
            raise UsageError(f"budget.{name}: should be a table, but is {value!r}; write [budget.{name}]")
    return {
        "budget": _filled(Budgets, "budget", {name: value for name, value in table.items() if name in LIMITS}),
        "special": {name: _filled(Budgets, f"budget.{name}", value) for name, value in own.items()},
    }


def _check_forms(config: CheckConfig) -> None:
    for name in config.targets:
        for precision in config.precisions:
            try:
                find_target(name).check(Form(precision=precision))
            except XedgeError as error:
                raise UsageError(f"targets and precisions: {error}; take one of them out") from error


def _check_budgets(config: CheckConfig) -> None:
    """Refuse budgets that nothing could be judged by."""
    for precision in config.special:
        if precision not in config.precisions:
            raise UsageError(
                f"budget.{precision}: no bundle has this precision; add it to precisions, or take the table out"
            )
    given = [(name, precision) for precision in config.precisions for name, _ in config.budgets(precision).given()]
    if not given:
        raise UsageError(f"budget: has no limit, so that nothing would be checked; give one of {', '.join(LIMITS)}")
    for name, _ in given:
        if LIMITS[name].baseline and config.baseline is None:
            raise UsageError(f'budget.{name}: compares with a baseline; write baseline = "path of a bundle"')
        if LIMITS[name].photos and not _has_photos(config):
            raise UsageError(
                f'budget.{name}: needs labelled photos; write data = "folder with one folder for each class"'
            )


def _has_photos(config: CheckConfig) -> bool:
    return "data" in config.places or config.model in (None, COMPACT)


def _check_places(config: CheckConfig) -> None:
    """Refuse paths that lead nowhere, before the work."""
    for name in ("data", "calibration"):
        if name in config.places:
            try:
                check_named(config.places[name])
            except XedgeError as error:
                raise UsageError(f"{name}: {error}") from error
    for name in ("truth", "labels"):
        if name in config.places and not Path(config.places[name]).is_file():
            raise UsageError(f"{name}: {config.places[name]}: there is no such file")
    baseline = config.baseline
    if baseline is not None and not (baseline.is_dir() or (baseline.suffix == ".zip" and baseline.is_file())):
        raise UsageError(
            f"baseline: {baseline}: there is no such bundle or folder of bundles (a bundle has a {MANIFEST}); put the "
            "last release there, or take the key out"
        )
