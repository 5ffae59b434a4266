"""The exceptions that a user meets: each says what is wrong, where, and what to do, and has its exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

# Around the names of parameters in messages; these characters are in no text that people write.
_OPEN, _CLOSE = "\ue000", "\ue001"


def parameter(name: str) -> str:
    """Return the name of a parameter for the message of an ``XedgeError``.

    Whoever shows the message says what the parameter is called there: in Python it is ``max_drop_points``, on the
    command line ``--max-drop``.
    """
    return f"{_OPEN}{name}{_CLOSE}"


class XedgeError(Exception):
    """Anything that ends a command with one line instead of a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        return self.worded(lambda name: name)

    def worded(self, called: Callable[[str], str]) -> str:
        """Return the message with each parameter under the name by which its reader knows it.

        Args:
            called: A function from the Python name of a parameter to the name to show.
        """
        return re.sub(f"{_OPEN}(.*?){_CLOSE}", lambda found: called(found.group(1)), super().__str__())

    def about(self, name: str, other: str) -> XedgeError:
        """Return the same error for a function whose parameter of one name has another name."""
        return type(self)(super().__str__().replace(parameter(name), parameter(other)))

    def within(self, place: str) -> XedgeError:
        """Return the same error with a place, such as a file or a layer, in front of its message."""
        return type(self)(f"{place}: {super().__str__()}")


class UsageError(XedgeError):
    """What is asked for does not exist, or does not fit together."""

    exit_code = 2


class InputError(XedgeError):
    """A file or folder that was named is missing, unreadable or of the wrong kind."""

    exit_code = 3


class UnsupportedError(XedgeError):
    """The model, the target or the precision is outside what xedge can do."""

    exit_code = 4


class UnsuitableModelError(UnsupportedError):
    """The model does not take one photo of a fixed size and give one output, so that no converter is asked."""


class BundleError(XedgeError):
    """A bundle is incomplete, damaged or of another schema version."""

    exit_code = 5


class MissingRuntimeError(XedgeError):
    """A package that the command needs is not installed or cannot be imported."""

    exit_code = 6


class ResourceError(XedgeError):
    """The system refused, for example because there is no space or no permission."""

    exit_code = 7


class CheckError(XedgeError):
    """A check failed: outputs or bytes differ, a budget was not met, or the doctor found a problem."""

    exit_code = 8


class ConnectionLostError(XedgeError):
    """Another machine cannot be reached, or the connection was lost."""

    exit_code = 10


def host_needed(package: str) -> MissingRuntimeError:
    """Return the error for a command of the host that is called where the host's packages are not installed.

    Args:
        package: The package that was not found.
    """
    return MissingRuntimeError(
        f"{package} is needed and not installed: pip install 'xedge[host]', on a computer; a device needs no "
        "TensorFlow: make bundles on a computer, bring them with `xedge deploy USER@DEVICE BUNDLE` or by copying, and "
        "`xedge run BUNDLE` on the device"
    )


UNDECIDED = 9
SOME_FAILED = 11
INTERRUPTED = 130

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "a fault of xedge's own; please report it",
    UsageError.exit_code: "wrong command line: unknown option, target, precision or model name",
    InputError.exit_code: "a file or folder is missing, unreadable or of the wrong kind",
    UnsupportedError.exit_code: "the model, operation, target or precision is not supported",
    BundleError.exit_code: "the bundle is damaged, incomplete or of another version",
    MissingRuntimeError.exit_code: "a package that is needed is not installed",
    ResourceError.exit_code: "no space, no permission or no memory",
    CheckError.exit_code: "a check failed: outputs or bytes differ, a budget was not met, or doctor found a problem",
    UNDECIDED: "a budget may be met, but there are too few photos, or turns of timing, to decide",
    ConnectionLostError.exit_code: "another machine cannot be reached, or the connection was lost",
    SOME_FAILED: "of several machines, some failed; the reports of the others are kept",
    INTERRUPTED: "interrupted",
}


def refusal(error: OSError) -> str:
    """Return one line about something that the system refused and that nobody foresaw."""
    return f"{error.filename or 'the system'}: {error.strerror or error}"


def brief(error: BaseException, most: int = 200) -> str:
    """Return the first line of what another library's error says, or the name of its type if it says nothing.

    Args:
        error: The error.
        most: The greatest number of characters.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:most] if lines else type(error).__name__


def not_known(what: str, value: str, known: Sequence[str]) -> str:
    """Return a message that says that a name is not known, with a guess at what was meant.

    Args:
        what: The kind of thing that was named, such as ``target``.
        value: The name that was given.
        known: The names that there are.
    """
    close = nearest(value, known)
    meant = f"did you mean {close}? " if close is not None else ""
    return f"unknown {what} {value!r}; {meant}there are {', '.join(known)}"


def nearest(value: str, known: Sequence[str]) -> str | None:
    """Return the name that was probably meant; None if none is near.

    It is the only one that begins with what was given, or one with most of the letters in the same order.

    Args:
        value: The name that was given.
        known: The names that there are.
    """
    begun = [name for name in known if value and name.startswith(value)]
    if len(begun) == 1:
        return begun[0]
    close = difflib.get_close_matches(value, known, 1, 0.7)
    return close[0] if close else None
