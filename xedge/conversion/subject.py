"""What the bundles of one request have in common: the model, how photos reach it, labels, the self-test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xedge.conversion.data_config import applied
from xedge.conversion.reference import Reference, read_reference
from xedge.conversion.request import Request
from xedge.conversion.scaling import check_scaling
from xedge.conversion.stages import Stages
from xedge.converters import Pixels
from xedge.errors import InputError, UnsupportedError, UsageError, parameter
from xedge.files import read_text
from xedge.memory import give_memory_back
from xedge.models.compact import embedded
from xedge.photos.decoding import is_turned
from xedge.photos.labels import lines_of, shared_names
from xedge.photos.preprocess import Preprocessing, scheme
from xedge.photos.reading import read_photos
from xedge.photos.sets import PhotoSet
from xedge.photos.truth import truth_of
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import Crop

GOLDEN_PHOTOS = 4
# So many labelled photos show whether cameras were turned.
TURNED_PHOTOS = 200
LARGEST_LABELS_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model with all that a request leaves open decided.

    Args:
        request: What the user asks for.
        reference: The model in float.
        preprocessing: From a photo to the model's input.
        photos: Labelled photos to measure accuracy on; None measures none.
        labels: The class names in the order of the outputs.
        labels_known: Whether the labels are names, or only numbers.
        golden_pixels: (N, H, W, C) uint8, the photos of the self-test.
        golden_reference: (N, classes) the reference's probabilities of them.
    """

    request: Request
    reference: Reference
    preprocessing: Preprocessing
    photos: PhotoSet | None
    labels: tuple[str, ...]
    labels_known: bool
    golden_pixels: UInt8Array
    golden_reference: FloatArray

    def truth(self, photos: PhotoSet) -> IntArray:
        """Return each photo's class index (N,), by the labels or, where these are only numbers, the folders' order."""
        return truth_of(photos, self.labels if self.labels_known else None, self.reference.classes)

    def pixels(self) -> Pixels:
        """Return the last step of preprocessing, for artifacts that take uint8 pixels."""
        return Pixels(scale=self.preprocessing.scale, offset=self.preprocessing.offset)

    def preprocessed(self, photos: PhotoSet, what: str, stages: Stages) -> Iterator[FloatArray]:
        """Yield preprocessed photos (H, W, C), telling how many are done."""
        for done, file in enumerate(photos.files):
            stages.progress(f"{what} {done}/{len(photos.files)} photos")
            yield self.preprocessing.photo(file)


def read_subject(request: Request, scratch: Path, stages: Stages) -> Subject:
    """Read a request's model and decide what the request leaves open.

    Args:
        request: What the user asks for.
        scratch: A folder that stays as long as the subject is used.
        stages: Told what is done.

    Raises:
        XedgeError: With a line for the user.
    """
    with stages.stage("read") as words:
        reference = read_reference(
            request.source,
            scratch,
            precisions=request.precisions,
            allow_code=request.options.allow_code,
        )
        words.append(f"{request.source}: {reference.parameters / 1e6:.2f} M parameters,  {reference.way}")
    for note in reference.notes:
        stages.note(note)
    preprocessing = _preprocessing(request, reference, stages)
    photos = _labelled_photos(request)
    if photos is not None:
        note_photos(photos, preprocessing, stages)
    labels = _labels(request, reference, photos)
    if photos is not None and request.options.preprocess is None and request.source.scheme is None:
        check_scaling(reference, preprocessing, photos, truth_of(photos, labels, reference.classes), stages)
    note_shared_names(labels or (), stages)
    if reference.output_kind in ("probability", "logit"):
        second = (labels or numbered(reference.classes))[1]
        stages.tell("output", f"one {reference.output_kind}, which is taken for that of the second class, {second}")
    elif reference.output_kind == "logits":
        stages.tell("output", "logits, from which probabilities are computed by a softmax")
    pixels = golden_photos(preprocessing, photos)
    return Subject(
        request=request,
        reference=reference,
        preprocessing=preprocessing,
        photos=photos,
        labels=labels or numbered(reference.classes),
        labels_known=labels is not None,
        golden_pixels=pixels,
        golden_reference=_checked(reference, preprocessing.scaled(pixels), stages),
    )


def _preprocessing(request: Request, reference: Reference, stages: Stages) -> Preprocessing:
    if request.options.crop == "scale":
        return _same_scale(request, reference, stages)
    return _fitted(request, reference, request.options.crop, stages)


def _same_scale(request: Request, reference: Reference, stages: Stages) -> Preprocessing:
    """Return preprocessing that scales photos as at the model's own size, and cuts the centre.

    Raises:
        UsageError: The model has no size of its own, or a smaller one.
    """
    own, (height, width, _) = reference.own_size, reference.input_shape
    if own is None and request.options.size is None:
        raise UsageError(f"{parameter('crop')} scale goes with a smaller {parameter('size')} than the model's own")
    prepared = _fitted(request, reference, "none", stages)
    if own is None:
        stages.note(f"photos of {height}x{width} are the model's own size, so that nothing is cut off")
        return prepared
    if own[0] < height or own[1] < width:
        raise UsageError(
            f"{parameter('size')} {height}x{width}: is larger than the model's own {own[0]}x{own[1]}, so that there is "
            f"no centre to cut; leave out {parameter('crop')} scale"
        )
    return replace(prepared, crop="squash", resized=own)


def _fitted(request: Request, reference: Reference, crop: Crop, stages: Stages) -> Preprocessing:
    """Return the preprocessing that the user or the model names, or else the one that is assumed."""
    height, width, channels = reference.input_shape
    if channels not in (1, 3):
        raise UnsupportedError(f"{request.source}: takes {channels} channels; photos have 1 or 3")
    options = request.options
    size = f" ({reference.size_reason})" if reference.size_reason else ""
    if request.data_config is not None:
        assert options.preprocess is not None
        prepared = applied(request.data_config, options.preprocess, reference.input_shape, exif=options.exif)
        stages.tell(
            "input", f"{height}x{width}x{channels}{size}, preprocessing {options.preprocess}: {prepared.fitting}"
        )
        return prepared
    name, reason = chosen_scheme(request, reference)
    stages.tell("input", f"{height}x{width}x{channels}{size}, preprocessing {name}: {reason}")
    return scheme(name, height, width, channels, crop, exif=options.exif, resize=options.resize)


def chosen_scheme(request: Request, reference: Reference) -> tuple[str, str]:
    """Return the scheme or file of preprocessing that the user or the model names, or else the one that is assumed.

    Returns:
        Its name, and the reason in words.
    """
    if request.options.preprocess is not None:
        return request.options.preprocess, "as asked"
    if request.source.scheme is not None:
        return request.source.scheme, "as it was trained"
    return reference.scheme or ("tf", "assumed, for nothing in the model tells; name the scheme if it is another")


def _labelled_photos(request: Request) -> PhotoSet | None:
    data = request.options.data
    if data is None:
        return embedded.test_photos() if request.source.embedded else None
    return labelled_photos(data, request.options.truth)


def labelled_photos(data: str | Path, truth: str | Path | None = None) -> PhotoSet:
    """Return photos to measure accuracy on; arguments are those of ``read_photos``.

    Raises:
        InputError: The photos cannot be read, or they have no classes.
    """
    photos = read_photos(data, truth)
    if not photos.labelled:
        raise InputError(
            f"{data}: has no class folders, so that no accuracy can be measured; give {parameter('truth')}, or leave "
            f"{parameter('data')} out"
        )
    return photos


def note_photos(photos: PhotoSet, preprocessing: Preprocessing, stages: Stages) -> None:
    """Tell what of a folder is not scored, and if viewers would show some of the photos turned."""
    if photos.left_out:
        stages.note(f"{photos.root}: not scored: {', '.join(photos.left_out)}")
    if not preprocessing.exif:
        looked_at = photos.sample(TURNED_PHOTOS, seed=0).files
        turned = sum(is_turned(file) for file in looked_at)
        if turned:
            stages.note(
                f"{turned} of {len(looked_at)} photos in {photos.root} have an EXIF orientation; as in Keras, they are "
                "taken as they are stored; if the model was trained on upright ones, convert with the option exif"
            )


def _labels(request: Request, reference: Reference, photos: PhotoSet | None) -> tuple[str, ...] | None:
    """The class names in the order of the outputs, where they are known."""
    classes, file = reference.classes, request.options.labels
    if file is not None:
        labels = read_labels(Path(file))
        if len(labels) != classes:
            raise InputError(f"{file}: has {len(labels)} labels for a model of {classes} classes")
        return labels
    if request.source.embedded:
        return embedded.labels()
    if photos is None:
        return None
    truth_of(photos, None, classes)  # refuses folders that are not the classes
    return photos.classes or None


def read_labels(file: Path) -> tuple[str, ...]:
    """Return the labels of a file, one on each line; blank lines do not count.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return labels_in(read_text(file, LARGEST_LABELS_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error}); give one label on each line") from error


def labels_in(text: str) -> tuple[str, ...]:
    """Return the labels in the text of a file of labels, one on each line; blank lines do not count."""
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def note_shared_names(labels: tuple[str, ...], stages: Stages) -> None:
    """Tell it if several classes have one name.

    Args:
        labels: The names of the classes in the order of the outputs.
        stages: Told of it.
    """
    shared = shared_names(labels)
    if not shared:
        return
    name, indices = next(iter(shared.items()))
    others = f", and so it is with {len(shared) - 1} other names" if len(shared) > 1 else ""
    stages.note(
        f"{lines_of(indices)} of the labels have the same name, {name!r} (blank lines do not count){others}: these "
        "classes are told apart by their index, and photos in a class folder of such a name cannot be scored"
    )


def numbered(classes: int) -> tuple[str, ...]:
    """Return labels for classes whose names are not known, such as ``class_07``."""
    return tuple(f"class_{index:0{len(str(classes - 1))}d}" for index in range(classes))


def golden_photos(preprocessing: Preprocessing, photos: PhotoSet | None) -> UInt8Array:
    """Return the pixels (N, H, W, C) of the photos of the self-test.

    Args:
        preprocessing: From a photo to the model's input.
        photos: The photos to choose from; None takes those that come with xedge.
    """
    files = (photos or embedded.test_photos()).files
    chosen = [files[len(files) * i // GOLDEN_PHOTOS] for i in range(GOLDEN_PHOTOS)]
    return np.stack([preprocessing.pixels(file) for file in chosen])


def _checked(reference: Reference, photos: FloatArray, stages: Stages) -> FloatArray:
    """The reference's probabilities of the golden photos, after it was held against the original model on them."""
    give_memory_back()
    with stages.stage("check") as words:
        probabilities, difference = reference.checked_predict(photos)
        words.append(f"within {difference:.1g} of the original model on {len(photos)} photos")
    return probabilities
