"""``xedge cost``."""

from __future__ import annotations

import argparse

from xedge.api.analyze import cost
from xedge.cli.console import Console, table
from xedge.cli.options import refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.inspection.costing import Cost, Totals
from xedge.vocabulary import BUILT_IN


def main(options: argparse.Namespace) -> int:
    """Print what a network costs, or the built-in ones side by side."""
    console = Console(options.json, options.quiet)
    if options.compare:
        refuse_idle(options, commands_of(parser())["cost"], ("top",), "with --compare, which shows no layers")
        names = [*([options.model] if options.model not in (None, *BUILT_IN) else []), *BUILT_IN]
        found = [cost(name, size=options.size, allow_code=options.allow_code) for name in names]
        console.result(found, _side_by_side(found))
        return 0
    one = cost(options.model, size=options.size, allow_code=options.allow_code)
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
    return f"{table(rows, [*header, 'ordinary, M', 'ratio', '1/N + 1/d^2'])}\n\n{LEGEND}"


LEGEND = (
    "MACs: multiply-accumulates, in millions; traffic: what is read and written in float32; alive: the tensors that "
    "are kept in memory while the layer is computed; ordinary: the MACs of an ordinary convolution in place of a "
    "separable one, with their ratio and its formula"
)


def _side_by_side(found: list[Cost]) -> str:
    """Each network as it is, and with ordinary convolutions where it has separable ones."""
    rows = []
    for one in found:
        rows.append([one.network, "x".join(map(str, one.input)), *_totals(one.total), ""])
        if one.ratio != 1:
            rows.append(["  with ordinary convolutions", "", *_totals(one.ordinary), f"{one.ratio:.3f}"])
    header = ["network", "input", "parameters, M", "MACs, M", "traffic, MB", "activations, MB", "ratio of MACs"]
    return table(rows, header)


def _totals(of: Totals) -> list[str]:
    return [
        f"{of.parameters / 1e6:.2f}",
        f"{of.multiply_accumulates / 1e6:,.0f}",
        f"{of.traffic_bytes / 1e6:.1f}",
        f"{of.activation_bytes / 1e6:.2f}",
    ]


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f}"
