"""What did not succeed on another machine, as documents tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The error of something that failed on another machine: of one bundle, or of everything there.

    Args:
        message: The error message.
        exit_code: The exit code that belongs to the error.
    """

    message: str
    exit_code: int
