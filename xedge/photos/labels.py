"""Names of classes: which classes have a name, and how classes of one name are told apart."""

from __future__ import annotations

from collections.abc import Sequence

# So many lines of one name are named in a message.
MOST_LINES = 4


def classes_by_name(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of the classes that have each name; label files of ImageNet have ``crane`` twice.

    Args:
        labels: The names of the classes in the order of the outputs.
    """
    found: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        found.setdefault(label, []).append(index)
    return found


def shared_names(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of the classes that share each name, without the names that only one class has.

    Args:
        labels: The names of the classes in the order of the outputs.
    """
    return {name: indices for name, indices in classes_by_name(labels).items() if len(indices) > 1}


def told_apart(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names for display: a name that several classes share is followed by the index of the class.

    Args:
        labels: The names of the classes in the order of the outputs.
    """
    shared = shared_names(labels)
    return tuple(f"{label} (class {index})" if label in shared else label for index, label in enumerate(labels))


def lines_of(indices: Sequence[int]) -> str:
    """Return in which lines of a file of labels classes stand: ``lines 135 and 518``.

    Args:
        indices: The indices of two or more classes; of many, the first ones are named.
    """
    lines = [str(index + 1) for index in indices]
    if len(lines) > MOST_LINES:
        return f"lines {', '.join(lines[:MOST_LINES])} and {len(lines) - MOST_LINES} others"
    return f"lines {', '.join(lines[:-1])} and {lines[-1]}"
