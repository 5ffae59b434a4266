"""Write the operations of a TensorFlow function with all variables as constants; runs in TensorFlow's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

OPERATIONS, CONSTANTS = "operations.json", "constants.npz"
# What the readers ask of an operation, besides its inputs.
ATTRIBUTES = (
    *(
        "strides",
        "padding",
        "explicit_paddings",
        "dilations",
        "data_format",
        "epsilon",
        "is_training",
        "alpha",
        "ksize",
    ),
    *("keep_dims", "squeeze_dims", "axis", "transpose_a", "transpose_b", "begin_mask", "end_mask", "ellipsis_mask"),
    *("new_axis_mask", "shrink_axis_mask", "half_pixel_centers", "align_corners", "num_split", "num", "DstT", "T"),
)


def freeze(function: Any, shape: tuple[int, int, int], folder: Path) -> None:
    """Write a function of one photo.

    Args:
        function: What takes a tensor (1, height, width, channels) float32 and returns the output.
        shape: The height, width and channels.
        folder: The folder to make.
    """
    import tensorflow as tf  # noqa: PLC0415 - this is the process for it
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415
        convert_variables_to_constants_v2,
    )

    spec = tf.TensorSpec((1, *shape), tf.float32, "photo")
    frozen = convert_variables_to_constants_v2(tf.function(function).get_concrete_function(spec))
    definition = _folded(tf, frozen)
    constants, operations = {}, []
    for node in definition.node:
        if node.op == "Const":
            constants[node.name] = tf.make_ndarray(node.attr["value"].tensor)
            continue
        known = {key: _plain(tf, node.attr[key]) for key in ATTRIBUTES if key in node.attr}
        inputs = [one for one in node.input if not one.startswith("^")]
        operations.append({"name": node.name, "op": node.op, "inputs": inputs, "attributes": known})
    folder.mkdir(parents=True, exist_ok=True)
    output = frozen.outputs[0].name
    (folder / OPERATIONS).write_text(json.dumps({"shape": shape, "output": output, "operations": operations}))
    np.savez(folder / CONSTANTS, **{name: value for name, value in constants.items() if value.dtype != object})


def _folded(tf: Any, frozen: Any) -> Any:
    """Return the function's graph with everything computed that does not depend on the photo."""
    from tensorflow.core.protobuf import config_pb2  # noqa: PLC0415
    from tensorflow.python.grappler import tf_optimizer  # noqa: PLC0415

    graph = frozen.graph
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    ends = tf.compat.v1.MetaGraphDef().collection_def["train_op"]
    ends.node_list.value.extend([frozen.inputs[0].name, frozen.outputs[0].name])
    meta.collection_def["train_op"].CopyFrom(ends)
    config = config_pb2.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.optimizers.extend(["constfold"])
    rewriting.min_graph_nodes = -1
    return tf_optimizer.OptimizeGraph(config, meta)


def _plain(tf: Any, attribute: Any) -> Any:
    kind = attribute.WhichOneof("value")
    if kind == "list":
        return [int(one) for one in attribute.list.i]
    if kind == "s":
        return attribute.s.decode()
    if kind == "type":
        return tf.dtypes.as_dtype(attribute.type).name
    return getattr(attribute, kind) if kind in ("i", "f", "b") else None
