"""Write small networks as the exporters do that users have; weights are random, and statistics those of noise.

The first call needs PyTorch, torchvision, timm and onnxscript; the second TensorFlow and tf2onnx. Neither needs xedge:

    python tests/data/exports/make.py torch [NAME ...]
    python tests/data/exports/make.py keras
    python tests/data/exports/make.py families FOLDER

The third call needs onnx and the files that ``benchmarks/onnx_exports.py FOLDER`` wrote, of whole networks whose
statistics are those of real photos. It keeps their graphs in ``families.zip``: of each large tensor of weights, the
shape, mean, deviation and bounds, with which ``filled`` draws other weights.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
CLASSES = 7
# Tensors of more values than this are kept by their means and deviations.
LARGE = 64
# Kernels of independent weights amplify more than those of a network that knows its statistics, up to a point at which
# the rounding of the first layer is all that is seen of the last.
DAMPING = 0.6
# Training begins these with branches, tokens or biases of next to nothing, in which no mistake would show.
SILENT = ("convnext", "edgenext", "mixer", "swin", "vit")


def networks() -> dict[str, tuple[Callable[[], Any], int]]:
    """Return functions that make networks of families of timm and torchvision, and the side of their photos."""
    import timm.models as timm
    from timm.models.convnext import ConvNeXt
    from timm.models.edgenext import EdgeNeXt
    from timm.models.metaformer import MetaFormer
    from timm.models.mlp_mixer import MlpMixer
    from timm.models.mobilenetv3 import _gen_mobilenet_v3
    from timm.models.res2net import Bottle2neck
    from timm.models.resnet import Bottleneck, ResNet
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer
    from torchvision import models

    few: dict[str, Any] = {"num_classes": CLASSES}
    parts = {"scale": 4}
    return {
        "resnet": (
            lambda: ResNet(Bottleneck, (1, 1, 1, 1), channels=(4, 8, 8, 12), stem_width=8, **few),
            32,
        ),
        "mobilenetv3": (lambda: _gen_mobilenet_v3("mobilenetv3_small_050", 0.1, **few), 32),
        "efficientnet": (lambda: timm.efficientnet._gen_efficientnet("efficientnet_b0", 0.1, 0.2, **few), 32),
        "poolformer": (lambda: MetaFormer(depths=(1, 1, 1, 1), dims=(8, 8, 12, 16), **few), 32),
        "res2net": (
            lambda: ResNet(Bottle2neck, (1, 1, 1, 1), channels=(4, 8, 8, 12), base_width=32, block_args=parts, **few),
            32,
        ),
        "convnext": (lambda: ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 12, 16), **few), 32),
        "vit": (lambda: VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2, **few), 32),
        "mixer": (lambda: MlpMixer(img_size=32, patch_size=8, embed_dim=16, num_blocks=1, **few), 32),
        "swin": (
            lambda: SwinTransformer(
                img_size=32, patch_size=2, window_size=4, embed_dim=8, depths=(2, 1), num_heads=(2, 4), **few
            ),
            32,
        ),
        "edgenext": (
            lambda: EdgeNeXt(
                dims=(8, 8, 12, 16), depths=(1, 2, 1, 1), global_block_counts=(0, 1, 0, 0), heads=(2, 2, 2, 2), **few
            ),
            32,
        ),
        "tv_densenet": (lambda: models.DenseNet(4, (2, 2), 8, **few), 32),
        "tv_shufflenet": (lambda: models.ShuffleNetV2([1, 1, 1], [8, 8, 16, 16, 24], **few), 32),
    }


def torch_files(names: list[str]) -> None:
    """Write a file of each of these networks, or of all, by each exporter."""
    import torch

    known = networks()
    for name in names or known:
        build, side = known[name]
        torch.manual_seed(0)
        model = build()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 0.5
            elif isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=0.3)  # some heads begin with zeros
        with torch.no_grad():
            for parameter in model.parameters() if name in SILENT else ():
                parameter.add_(0.2 * torch.randn_like(parameter))
            for _ in range(3):
                model.train()(torch.randn(4, 3, side, side))
        model.eval()
        photo = (torch.randn(1, 3, side, side),)
        for dynamo in (False, True):
            path = FOLDER / f"{name}_{'dynamo' if dynamo else 'torchscript'}.onnx"
            more = {"external_data": name == "tv_shufflenet"} if dynamo else {}
            torch.onnx.export(model, photo, str(path), input_names=["photo"], dynamo=dynamo, **more)
            without_traces(path)


def without_traces(path: Path) -> None:
    """Leave out where in the machine's Python files each operator came from, which is most of a file by dynamo."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del one.metadata_props[:]
        one.doc_string = ""
    path.write_bytes(model.SerializeToString())


def keras_files() -> None:
    """Write a network as tf2onnx does, with its channels last."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    photo = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(layers.Rescaling(1 / 127.5, -1)(photo))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.SeparableConv2D(8, 3, padding="same")(x)
    x = layers.MaxPooling2D()(layers.Activation("swish")(layers.Add()([x, y])))
    x = layers.Dense(CLASSES, activation="softmax")(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x)))
    model = keras.Model(photo, x)
    model(np.zeros((1, 32, 32, 3), np.float32))
    model.export(str(FOLDER / "keras_tf2onnx.onnx"), format="onnx", verbose=False)


def family_files(folder: Path) -> None:
    """Keep the graphs of whole networks, without their large weights."""
    import onnx
    from onnx import numpy_helper

    with zipfile.ZipFile(FOLDER / "families.zip", "w", zipfile.ZIP_LZMA) as archive:
        for path in sorted(folder.glob("*.onnx")):
            model = onnx.load(path)
            for one in model.graph.initializer:
                values = numpy_helper.to_array(one)
                if values.dtype == np.float32 and values.size > LARGE:
                    one.ClearField("raw_data")
                    one.ClearField("float_data")
                    told = (values.mean(), values.std(), values.min(), values.max())
                    one.doc_string = " ".join(f"{number:.4g}" for number in told)
            for one in (model.graph, *model.graph.node, *model.graph.value_info):
                one.doc_string = ""
                del one.metadata_props[:]
            information = zipfile.ZipInfo(path.name)  # without the time, so that the same graphs make the same file
            archive.writestr(information, model.SerializeToString(), zipfile.ZIP_LZMA)


def filled(name: str, path: Path) -> None:
    """Write a network of ``families.zip`` with weights of the means, deviations and bounds of its own.

    Args:
        name: The name of the network.
        path: The ONNX file to write.
    """
    import onnx
    from onnx import numpy_helper

    with zipfile.ZipFile(FOLDER / "families.zip") as archive:
        model = onnx.ModelProto.FromString(archive.read(f"{name}.onnx"))
    random = np.random.default_rng(0)
    for one in model.graph.initializer:
        if one.doc_string:
            mean, deviation, least, most = map(float, one.doc_string.split())
            deviation *= DAMPING if len(one.dims) > 1 else 1.0
            values = random.normal(mean, deviation, tuple(one.dims)).clip(least, most).astype(np.float32)
            one.CopyFrom(numpy_helper.from_array(values, one.name))
    onnx.save(model, path)


if __name__ == "__main__":
    if sys.argv[1] == "torch":
        torch_files(sys.argv[2:])
    elif sys.argv[1] == "keras":
        keras_files()
    else:
        family_files(Path(sys.argv[2]))
