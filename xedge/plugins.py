"""Find the parts of xedge that can be added to: its own folders, and what other packages register.

A kind of part (targets, runtimes, sources) is a package with one subpackage for each part. Another Python package adds
a part by an entry point in the group of that kind (``xedge.targets``, ``xedge.runtimes``, ``xedge.sources``,
``xedge.operations``), whose value names the object: ``listing = "my_package.listing:TARGET"``.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

log = logging.getLogger(__name__)


@cache
def parts(package: str, attribute: str, group: str) -> tuple[Any, ...]:
    """Return the parts of one kind, each of which has a ``name`` and a ``rank``, ordered by rank and name.

    Args:
        package: The package whose subpackages are xedge's own parts, such as ``xedge.converters``.
        attribute: The name of the object in each subpackage, such as ``TARGET``.
        group: The entry-point group in which other packages register parts, such as ``xedge.targets``.
    """
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    own = [importlib.import_module(f"{package}.{module.name}") for module in modules if module.ispkg]
    found = [*(getattr(module, attribute) for module in own), *registered(group)]
    return tuple(sorted(found, key=lambda part: (part.rank, part.name)))


@cache
def registered(group: str) -> tuple[Any, ...]:
    """Return the objects that other packages register in an entry-point group, loaded.

    An entry point that cannot be loaded is logged as a warning and left out, so that a broken package does not take
    xedge down with it.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - it takes longer than the rest of a short command

    found = []
    for entry in entry_points(group=group):
        try:
            found.append(entry.load())
        except Exception as error:  # whatever another package's import raises
            log.warning("%s: the entry point %r cannot be loaded (%s)", group, entry.name, error)
    return tuple(found)


def deferred(place: str) -> Callable[..., Any]:
    """Return a function that imports another one when it is called, so that naming it costs no import.

    Args:
        place: The module and the function, as ``package.module:function``.
    """
    module, _, name = place.partition(":")

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments, **named)

    return call
