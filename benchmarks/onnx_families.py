"""Count which families of timm and torchvision are read from ONNX files, and compare what is made of them.

The first call needs PyTorch, torchvision, timm and onnxscript, and no xedge; the second needs xedge and no PyTorch:

    python benchmarks/onnx_families.py export FOLDER
    python benchmarks/onnx_families.py measure FOLDER

Weights are random. The statistics of batch normalization are those of a few batches of noise, so that values stay in
the range that they have in a trained network.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

# Names of timm, or of torchvision after "tv:", with the height and width of their photos.
FAMILIES = {
    "resnet18": 64,
    "resnet50": 64,
    "resnetv2_50": 64,
    "seresnet50": 64,
    "ecaresnet26t": 64,
    "resnext50_32x4d": 64,
    "res2net50_26w_4s": 64,
    "regnetx_002": 64,
    "regnety_002": 64,
    "densenet121": 64,
    "dla34": 64,
    "dpn48b": 64,
    "hrnet_w18_small": 64,
    "vgg11_bn": 64,
    "vovnet39a": 64,
    "inception_v3": 96,
    "inception_v4": 96,
    "inception_resnet_v2": 96,
    "xception": 96,
    "mobilenetv2_050": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv3_large_100": 64,
    "mobilenetv4_conv_small": 64,
    "mnasnet_050": 64,
    "semnasnet_050": 64,
    "efficientnet_b0": 64,
    "tf_efficientnet_b0": 64,
    "tf_efficientnetv2_b0": 64,
    "tf_efficientnet_lite0": 64,
    "ghostnet_050": 64,
    "ghostnetv2_100": 64,
    "mixnet_s": 64,
    "lcnet_050": 64,
    "tinynet_e": 64,
    "fbnetc_100": 64,
    "hardcorenas_a": 64,
    "rexnet_100": 64,
    "repvgg_a0": 64,
    "mobileone_s0": 64,
    "fastvit_t8": 64,
    "nfnet_l0": 64,
    "cspresnet50": 64,
    "darknet53": 64,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "convmixer_768_32": 64,
    "edgenext_xx_small": 64,
    "starnet_s1": 64,
    "poolformer_s12": 64,
    "mixer_s32_224": 224,
    "vit_tiny_patch16_224": 224,
    "deit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "tv:alexnet": 64,
    "tv:googlenet": 64,
    "tv:inception_v3": 96,
    "tv:squeezenet1_1": 64,
    "tv:shufflenet_v2_x0_5": 64,
    "tv:mobilenet_v2": 64,
    "tv:mobilenet_v3_small": 64,
    "tv:efficientnet_v2_s": 64,
    "tv:mnasnet0_5": 64,
    "tv:convnext_tiny": 64,
}

# What is compared with ONNX Runtime on the file: the reference graph, and the artifacts.
MADE = ("graph", "tflite", "onnx")


def made(name: str) -> Any:
    """Return a network with random weights and warm statistics, in inference."""
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    if name.startswith("tv:"):
        kind = name.removeprefix("tv:")
        given = {"init_weights": True, "aux_logits": False} if kind in ("googlenet", "inception_v3") else {}
        model = importlib.import_module("torchvision.models").get_model(kind, weights=None, num_classes=40, **given)
    else:
        model = importlib.import_module("timm").create_model(name, pretrained=False, num_classes=40)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.5
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(4, 3, FAMILIES[name], FAMILIES[name]))
    return model.eval()


def exported(folder: Path, only: list[str], *, dynamo: bool) -> None:
    """Write one ONNX file for each family; what the exporter does not take is told."""
    torch = importlib.import_module("torch")
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or FAMILIES:
        file = folder / f"{name.replace(':', '_')}.onnx"
        if file.exists():
            continue
        try:
            photo = torch.randn(1, 3, FAMILIES[name], FAMILIES[name])
            torch.onnx.export(made(name), (photo,), str(file), input_names=["photo"], dynamo=dynamo)
        except Exception as error:
            sys.stdout.write(f"{name}: not exported: {str(error).splitlines()[:1]}\n")


def measured(file: Path) -> dict[str, Any]:
    """Return how one file is read, and how far what is made of it is from ONNX Runtime on the file itself."""
    # Imported here, for exporting has no xedge.
    from xedge.conversion.reference import parity  # noqa: PLC0415
    from xedge.converters import Form, find_target  # noqa: PLC0415
    from xedge.errors import XedgeError  # noqa: PLC0415
    from xedge.graph.evaluate import Evaluator  # noqa: PLC0415
    from xedge.runtimes import Settings, choose_runtime  # noqa: PLC0415
    from xedge.sources.finding import find_source  # noqa: PLC0415

    source = find_source(str(file))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            read = source.kind.read(source, Path(scratch), allow_code=False)
        except XedgeError as error:
            return {"family": file.stem, "read": False, "reason": str(error)}
        photos = np.random.default_rng(1).standard_normal((2, *read.graph.input.shape)).astype(np.float32)
        expected = read.original.output(photos)
        row: dict[str, Any] = {"family": file.stem, "read": True, "nodes": len(read.graph.nodes)}
        row["graph"] = parity(
            np.concatenate([Evaluator(read.graph).output(one[None]) for one in photos]), expected, "logits"
        )
        for name in MADE[1:]:
            target = find_target(name)
            artifact = Path(scratch) / f"artifact{target.suffix}"
            try:
                artifact.write_bytes(target.convert(read.graph, Form(precision="fp32"))[target.suffix])
                session = choose_runtime(artifact).open(artifact, Settings(threads=2, exact=True))
                given = photos if target.layout == "NHWC" else photos.transpose(0, 3, 1, 2)
                got = np.concatenate([session.run(np.ascontiguousarray(one[None])) for one in given])
                row[name] = parity(got, expected, "logits")
            except XedgeError as error:
                row[name] = str(error)
    return row


def main() -> None:
    """Export the families, or measure those that were exported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["export", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("only", nargs="*", help="the families; all if none is named")
    parser.add_argument("--dynamo", action="store_true", help="use PyTorch's newer exporter")
    given = parser.parse_intermixed_args()
    if given.what == "export":
        exported(given.folder, given.only, dynamo=given.dynamo)
        return
    wanted = [given.folder / f"{name}.onnx" for name in given.only] or sorted(given.folder.glob("*.onnx"))
    rows = []
    for file in wanted:
        rows.append(measured(file))
        print(json.dumps(rows[-1]), flush=True)
    taken = [row for row in rows if row["read"]]
    alike = [
        row
        for row in taken
        if all(isinstance(row[one], float) and row[one] <= 1 for one in ("graph", "tflite", "onnx"))
    ]
    print(f"{len(taken)} of {len(rows)} are read; {len(alike)} are alike in the graph, TFLite and ONNX")


if __name__ == "__main__":
    main()
