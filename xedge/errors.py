"""The exceptions that a user meets: each says what is wrong, where, and what to do, and has its exit code."""

from __future__ import annotations


class XedgeError(Exception):
    """Anything that ends a command with one line instead of a traceback."""

    exit_code = 1


class UsageError(XedgeError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class InputError(XedgeError):
    """A file or folder that was named is missing, unreadable or of the wrong kind."""

    exit_code = 3


class UnsupportedError(XedgeError):
    """The model, target or precision is outside what xedge can do."""

    exit_code = 4


class BundleError(XedgeError):
    """A bundle is incomplete, damaged or of another schema version."""

    exit_code = 5


class MissingRuntimeError(XedgeError):
    """A package that the command needs is not installed or cannot be imported."""

    exit_code = 6


class ResourceError(XedgeError):
    """The system refused: no space, no permission."""

    exit_code = 7


class CheckError(XedgeError):
    """A check failed: golden outputs differ, a budget was not met, or the doctor found a problem."""

    exit_code = 8


class ConnectionLostError(XedgeError):
    """Another machine cannot be reached, or not any more."""

    exit_code = 10


UNDECIDED = 9
INTERRUPTED = 130

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "an error of xedge's own; please report it",
    UsageError.exit_code: "wrong command line: unknown option, target, precision or model name",
    InputError.exit_code: "a file or folder is missing, unreadable or of the wrong kind",
    UnsupportedError.exit_code: "the model, operation, target or precision is not supported",
    BundleError.exit_code: "the bundle is damaged, incomplete or of another version",
    MissingRuntimeError.exit_code: "a package that is needed is not installed",
    ResourceError.exit_code: "no space, no permission or no memory",
    CheckError.exit_code: "a check failed: golden outputs differ, a budget not met, a problem that doctor found",
    UNDECIDED: "a budget may be met, but the photos are too few to decide",
    ConnectionLostError.exit_code: "another machine cannot be reached, or not any more",
    INTERRUPTED: "interrupted",
}
