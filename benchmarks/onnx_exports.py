#!/usr/bin/env python3
"""Export networks of timm and torchvision to ONNX files, for ``onnx_families.py``.

    PYTHONPATH=. python benchmarks/onnx_exports.py FOLDER [NAME ...]

It needs PyTorch, torchvision, timm and onnxscript, and no xedge. FOLDER has the photos that ``onnx_families.py photos``
wrote. Weights are random. Batch normalizations have the statistics of real photos, and the head of each network is
fitted to photos, so that answers have margins as those of a trained network have.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.ridge import LOGITS, fitted_head

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

CLASSES = 10
# The photos that fix the statistics of normalizations, and those that are computed together.
WARMING, TOGETHER = 32, 31
# Mean and standard deviation of ImageNet's pixels, as xedge's preprocessing "torch" has them.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A factor of a branch that training begins at this or less is 1 here, so that no branch is silent.
SILENT = 1e-3


def main() -> None:
    """Export what is missing; what the exporter does not take is told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with the photos, for the files")
    parser.add_argument("names", nargs="*", help="export only these networks")
    parser.add_argument("--dynamo", action="store_true", help="use PyTorch's newer exporter")
    options = parser.parse_intermixed_args()
    torch = importlib.import_module("torch")
    for name in options.names or FAMILIES:
        file = options.folder / f"{name.replace(':', '_')}.onnx"
        if file.exists():
            continue
        try:
            photo = torch.zeros(1, 3, FAMILIES[name], FAMILIES[name])
            torch.onnx.export(made(name, options.folder), (photo,), file, input_names=["photo"], dynamo=options.dynamo)
        except Exception as error:  # the exporters' errors have no class in common
            sys.stdout.write(f"{name}: not exported: {str(error).splitlines()[:1]}\n")


def made(name: str, folder: Path) -> Any:
    """Return a network in inference that knows the photos of a folder."""
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    model = drawn(name).eval()
    with np.load(folder / f"photos_{FAMILIES[name]}.npz") as kept:
        pixels, truth = kept["pixels"], kept["truth"]
    photos = (pixels.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    with torch.no_grad():
        warm(model, torch.from_numpy(np.ascontiguousarray(photos.transpose(0, 3, 1, 2))))
        fit(model, torch.from_numpy(np.ascontiguousarray(photos.transpose(0, 3, 1, 2))), truth)
    return model


def drawn(name: str) -> Any:
    """Return a network with random weights and no silent branches."""
    torch = importlib.import_module("torch")
    if name.startswith("tv:"):
        kind = name.removeprefix("tv:")
        given = {"init_weights": True, "aux_logits": False} if kind in ("googlenet", "inception_v3") else {}
        model = importlib.import_module("torchvision.models").get_model(
            kind, weights=None, num_classes=CLASSES, **given
        )
    else:
        model = importlib.import_module("timm").create_model(name, pretrained=False, num_classes=CLASSES)
    for place, factors in model.named_parameters():
        scales = place.endswith(("weight", "gamma", "scale", "layer_scale"))
        if scales and max(factors.shape) == factors.numel() and factors.abs().max() <= SILENT:
            torch.nn.init.ones_(factors)
    return model


def warm(model: Any, photos: Any) -> None:
    """Give batch normalizations the statistics of photos (N, 3, size, size)."""
    torch = importlib.import_module("torch")
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d)]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    model(photos[:WARMING])
    for layer in layers:
        layer.eval()


def fit(model: Any, photos: Any, truth: np.ndarray) -> None:
    """Fit the last layer that gives the classes to photos (N, 3, size, size) and their classes (N,)."""
    torch = importlib.import_module("torch")
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    head = [layer for layer in model.modules() if isinstance(layer, kinds) and len(layer.weight) == CLASSES][-1]
    seen: list[np.ndarray] = []
    hook = head.register_forward_pre_hook(lambda layer, given: seen.append(_features(given[0])))
    for at in range(0, len(photos), TOGETHER):
        model(photos[at : at + TOGETHER])
    hook.remove()
    kernel, bias = fitted_head(np.concatenate(seen), truth, CLASSES)
    if isinstance(head, torch.nn.Conv2d):
        # A rectifier may follow. A constant beside all logits changes no probability, and keeps them above zero.
        bias = bias + LOGITS
    head.weight.copy_(torch.from_numpy(kernel.T.astype(np.float32)).reshape(head.weight.shape))
    head.bias.copy_(torch.from_numpy(bias.astype(np.float32)))


def _features(given: Any) -> np.ndarray:
    """Return what a head reads (N, features); a convolution's positions are averaged."""
    return np.asarray(given.mean(dim=(2, 3)) if given.ndim == 4 else given)


if __name__ == "__main__":
    main()
