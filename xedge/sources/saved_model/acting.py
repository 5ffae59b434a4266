"""Find operations of a SavedModel that do more than compute, before TensorFlow loads it and some of them run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xedge.errors import InputError, parameter

# Operations that read or write files, reach other processes or machines, or run Python, though not all of them are
# stateful in TensorFlow's books.
ACTING = re.compile(
    "File|Save|Restore|Checkpoint|Reader|Dataset|PyFunc|PyFuncStateless|Rpc|DataService|Debug|Summary|Remote|Print|Send|"
    "Recv|Collective|LoadLibrary|HostCompute"
)
# Stateful operations that only keep values, call functions, draw numbers or check something.
KEEPING = re.compile(
    "Var|Assign|PartitionedCall|^(Stateless)?(If|While|Case)$|Random|HashTable|LookupTable|^InitializeTable(V2)?$|"
    "Assert|TensorArray|Stack|ResourceGather|ResourceScatter|Placeholder|Stateful|Multinomial|Rng|NoOp|^Fact$"
)


def refuse_acting(path: Path) -> None:
    """Refuse a SavedModel that does more than compute when it is loaded or run.

    Args:
        path: The SavedModel's folder.

    Raises:
        InputError: It does, or it cannot be read.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # noqa: PLC0415 - only its process has it

    model = SavedModel()
    try:
        model.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's own kind is none of its documented names
        raise InputError(f"{path}: saved_model.pb is damaged; save the model again") from error
    for graph in model.meta_graphs:
        for kind in _reached(graph):
            if _acts(kind):
                raise InputError(
                    f"{path}: its operation {kind} does more than compute, for example with files; if you trust the "
                    f"model, give {parameter('allow_code')}"
                )


def _acts(kind: str) -> bool:
    from tensorflow.python.framework import op_def_registry  # noqa: PLC0415

    if ACTING.search(kind):
        return True
    known = op_def_registry.get(kind)
    return known is not None and known.is_stateful and KEEPING.search(kind) is None


def _reached(graph: Any) -> Iterator[str]:
    """Yield the kinds of the operations that run when a model is loaded or used; saving it again is not among them."""
    nodes = {node.name: node for node in graph.graph_def.node}
    functions = {one.signature.name: one for one in graph.graph_def.library.function}
    saver = graph.saver_def
    of_saver = {_node(name) for name in (saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name)}
    roots = [_node(end.name) for one in graph.signature_def.values() for end in one.outputs.values()]
    for name in ("saved_model_main_op", "legacy_init_op"):
        roots += (
            [_node(one) for one in graph.collection_def[name].node_list.value] if name in graph.collection_def else []
        )
    seen: set[str] = set()
    pending = [nodes[name] for name in roots if name in nodes and name not in of_saver]
    called = list(graph.object_graph_def.concrete_functions)
    while pending or called:
        if called:
            name = called.pop()
            if name in functions and f"function {name}" not in seen:
                seen.add(f"function {name}")
                for node in functions[name].node_def:
                    yield node.op
                    called += _calls(node)
            continue
        node = pending.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        yield node.op
        called += _calls(node)
        pending += [nodes[one] for one in map(_node, node.input) if one in nodes]


def _calls(node: Any) -> Iterable[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name
    yield node.op  # a function may be called by its name alone


def _node(name: str) -> str:
    return name.removeprefix("^").split(":")[0]
