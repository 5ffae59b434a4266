"""What workers must have in common, for results depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from xedge.errors import MissingRuntimeError

# What a probe tells besides: workers may differ in it, or it is no version.
NOT_COMPARED = ("processor", "photos")


def compared(answer: Mapping[str, str]) -> dict[str, str]:
    """Return what of a probe's answer has to be the same on all workers."""
    return {name: value for name, value in answer.items() if name not in NOT_COMPARED}


def check_answers(answers: Mapping[str, Mapping[str, str]], wanted: Mapping[str, str]) -> None:
    """Refuse workers that lack something or have another version; errors are those of ``check_workers``.

    Args:
        answers: What each worker has, by its address.
        wanted: What this process has; of what it does not have, the workers must have the same.
    """
    missing = "not installed"
    common = {
        name: value if value != missing else Counter(answer[name] for answer in answers.values()).most_common(1)[0][0]
        for name, value in wanted.items()
        if name not in NOT_COMPARED
    }
    for worker, answer in answers.items():
        if answer.get("photos") == "not readable":
            raise MissingRuntimeError(
                f"worker {worker}: cannot read the photos; put them where every worker sees them under the same path, "
                "or give an address such as s3://bucket/photos"
            )
        for name, value in common.items():
            if answer[name] == missing:
                raise MissingRuntimeError(f"worker {worker}: lacks {name}; install it there: {_command(name, value)}")
            if answer[name] != value:
                raise MissingRuntimeError(
                    f"worker {worker}: has {name} {answer[name]} instead of {value}; {_command(name, value)}"
                )


def _command(name: str, version: str) -> str:
    if name in ("python", "machine"):
        return f"take workers with {name} {version}"
    return f"pip install '{name}=={version}'" if version != "not installed" else f"pip install {name}"
