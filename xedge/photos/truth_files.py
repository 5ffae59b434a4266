"""Read files that say the class of each photo: CSV, and the forms in which ImageNet's ground truth is spread."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xedge.errors import InputError, MissingRuntimeError, brief, parameter
from xedge.files import read_text
from xedge.photos.sets import is_label

# The ground truth of a million photos is a tenth of this.
LARGEST_BYTES = 256 << 20
# The columns that a CSV file may have: xedge's own names, and those of Kaggle's LOC_val_solution.csv.
COLUMNS = (("file", "label"), ("ImageId", "PredictionString"))
_WORDNET = re.compile(r"n\d{8}")
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
# What of ImageNet's development kit names the classes; it lies in the same folder as the ground truth.
KIT = "meta.mat"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The class of each photo as a file says it.

    Args:
        file: The file.
        label: The name of the class, or the number of the output, by the name of the photo's file; of ImageNet's ground
            truth by the number in that name.
        by_number: Whether the photos are ImageNet's, which have numbers.
        classes: The names of all classes, sorted; None takes those that occur.
    """

    file: Path
    label: Mapping[str, str]
    by_number: bool = False
    classes: tuple[str, ...] | None = None

    def of(self, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Return the names of the classes, and the index of each photo's class among them.

        Whole numbers are those of a model's outputs; there are no names then.

        Args:
            names: The names of the photos' files.

        Raises:
            InputError: The file has no class for a photo.
        """
        labels = [self._label(name) for name in names]
        if all(label.isdigit() for label in self.label.values()):
            return (), tuple(int(label) for label in labels)
        classes = self.classes or tuple(sorted(set(self.label.values())))
        index = {name: place for place, name in enumerate(classes)}
        return classes, tuple(index[label] for label in labels)

    def _label(self, name: str) -> str:
        key = name
        if self.by_number:
            numbered = _VALIDATION.fullmatch(name)
            if numbered is None:
                raise InputError(
                    f"{self.file}: has one class in each line, which is for photos named ILSVRC2012_val_00000001.JPEG, "
                    f"but there is {name}; give a CSV file with the columns file and label"
                )
            key = str(int(numbered[1]))
        if key not in self.label:
            raise InputError(f"{self.file}: has no class for the photo {name}; add it, or remove the photo")
        return self.label[key]


def read_truth(file: Path) -> Truth:
    """Return what a file of classes says.

    Args:
        file: A CSV file with the columns file and label; ``LOC_val_solution.csv`` of ImageNet; lines with the name of a
            photo and its class; or one WordNet name, or one number of ImageNet's development kit, in each line.

    Raises:
        InputError: The file cannot be read or is none of these.
        MissingRuntimeError: SciPy is needed to read the development kit.
    """
    try:
        lines = [line for line in read_text(file, LARGEST_BYTES).splitlines() if line.strip()]
    except FileNotFoundError:
        raise InputError(f"{parameter('truth')} {file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{parameter('truth')} {file}: cannot be read as text ({error})") from error
    if not lines:
        raise InputError(f"{parameter('truth')} {file}: is empty; write file,label and a line for each photo")
    header = next(csv.reader(lines[:1]))
    for name, label in COLUMNS:
        if name in header and label in header:
            return _of_table(file, lines, name, label)
    words = [line.split() for line in lines]
    if all(len(one) == 2 for one in words):
        return Truth(file=file, label=_unique(file, [(name, label) for name, label in words]))
    if all(len(one) == 1 and (_WORDNET.fullmatch(one[0]) or one[0].isdigit()) for one in words):
        return _of_lines(file, [one[0] for one in words])
    raise InputError(
        f"{parameter('truth')} {file}: begins with {lines[0][:60]!r}; give a CSV file with the columns file and label, "
        "or ImageNet's ground truth"
    )


def _of_table(file: Path, lines: Sequence[str], name: str, label: str) -> Truth:
    return Truth(file=file, label=_unique(file, _rows(file, lines, name, label)))


def _rows(file: Path, lines: Sequence[str], name: str, label: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the class of each photo."""
    for number, row in enumerate(csv.DictReader(lines), start=2):
        if not row.get(name) or not row.get(label):
            raise InputError(f"{file}: line {number} has no {name} or no {label}; fill it in")
        photo, words = str(row[name]), str(row[label])
        if name == "ImageId":  # LOC_val_solution.csv leaves the suffix out, and has boxes behind the class
            photo, words = f"{photo}.JPEG", words.split(maxsplit=1)[0]
        if not is_label(words):
            raise InputError(f"{file}: line {number}: the class is not one line of Unicode; rename it")
        yield photo, sys.intern(words)


def _unique(file: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, label in pairs:
        if name in found:
            raise InputError(f"{file}: has the photo {name} twice; keep one line of it")
        found[name] = label
    return found


def _of_lines(file: Path, words: Sequence[str]) -> Truth:
    """Return the truth of a file with a line for each of ImageNet's validation photos."""
    classes = None
    if any(word.isdigit() for word in words):
        names = _kit(file)
        strange = next((word for word in words if int(word) not in names), None)
        if strange is not None:
            raise InputError(f"{file}: has class {strange}, which {KIT} beside it does not have; take both of one kit")
        words = [names[int(word)] for word in words]
        classes = tuple(sorted(names.values()))
    label = {str(number): word for number, word in enumerate(words, start=1)}
    return Truth(file=file, label=label, by_number=True, classes=classes)


def _kit(file: Path) -> dict[int, str]:
    """Return the WordNet names of ImageNet's classes by their numbers in the development kit.

    These numbers are not those of models' outputs: models number the classes by their sorted WordNet names.
    """
    beside = file.with_name(KIT)
    if not beside.is_file():
        raise InputError(
            f"{file}: numbers the classes as ImageNet's development kit does, which is not the order of a model's "
            f"outputs; put {KIT} of the kit beside it"
        )
    try:
        import scipy.io  # noqa: PLC0415 - only the kit needs it
    except ImportError as error:
        raise MissingRuntimeError(f"{beside}: scipy is needed and not installed: pip install scipy") from error
    try:
        synsets: Any = scipy.io.loadmat(beside, squeeze_me=True)["synsets"]
        found = {
            int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets.reshape(-1) if not int(one["num_children"])
        }
    except Exception as error:  # SciPy raises errors of many kinds for other files
        raise InputError(f"{beside}: is not the {KIT} of ImageNet's development kit ({brief(error)})") from error
    return found
