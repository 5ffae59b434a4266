"""``xedge cost``."""

from __future__ import annotations

import argparse

from xedge.api.analyze import cost
from xedge.cli.console import Console, table
from xedge.costing import Cost
from xedge.vocabulary import BUILT_IN


def main(options: argparse.Namespace) -> int:
    """Print what a network costs, or the built-in ones side by side."""
    console = Console(options.json, options.quiet)
    if options.compare:
        names = [*([options.model] if options.model not in (None, *BUILT_IN) else []), *BUILT_IN]
        found = [cost(name, allow_code=options.allow_code) for name in names]
        console.result(found, _side_by_side(found))
        return 0
    one = cost(options.model, allow_code=options.allow_code)
    console.result(one, f"{_layers(one, options.top)}\n\n{_side_by_side([one])}")
    return 0


def _layers(found: Cost, top: int | None) -> str:
    layers = [layer for layer in found.layers if layer.parameters]
    if top is not None:
        layers = sorted(layers, key=lambda layer: -layer.multiply_accumulates)[:top]
    rows = []
    for layer in layers:
        pair = layer.separable
        ratio = ["", "", ""] if pair is None else [_millions(pair.ordinary), f"{pair.ratio:.4f}", f"{pair.formula:.4f}"]
        rows.append(
            [
                layer.name,
                layer.kind,
                "x".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                _millions(layer.multiply_accumulates),
                f"{layer.traffic_bytes / 1e6:.2f}",
                f"{layer.alive_bytes / 1e6:.2f}",
                *ratio,
            ]
        )
    header = ["layer", "kind", "output", "parameters", "MACs, M", "traffic, MB", "alive, MB"]
    return table(rows, [*header, "ordinary, M", "ratio", "1/N + 1/d^2"])


def _side_by_side(found: list[Cost]) -> str:
    rows = [
        [
            one.network,
            "x".join(map(str, one.input)),
            f"{one.parameters / 1e6:.2f}",
            f"{one.multiply_accumulates / 1e6:,.0f}",
            f"{one.traffic_bytes / 1e6:.0f}",
            f"{one.activation_bytes / 1e6:.1f}",
            f"{one.ordinary_parameters / 1e6:.2f}",
            f"{one.ordinary_multiply_accumulates / 1e6:,.0f}",
            f"{one.multiply_accumulates / one.ordinary_multiply_accumulates:.3f}",
        ]
        for one in found
    ]
    header = ["network", "input", "parameters, M", "MACs, M", "traffic, MB", "activations, MB"]
    return table(rows, [*header, "ordinary: parameters, M", "MACs, M", "ratio"])


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f}"
