"""Precisions that are known not to pay on this machine's processor, whatever the model."""

from __future__ import annotations

from dataclasses import dataclass

from xedge.bundle.manifest import Manifest
from xedge.device.processor import is_arm_without_dot_product
from xedge.device.system import System


@dataclass(frozen=True, kw_only=True)
class Unpaid:
    """Why a bundle's precision does not pay here.

    Args:
        words: What is the case.
        reason: Why it is so.
        cure: What to do.
    """

    words: str
    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.words}: {self.reason}; {self.cure}"


def unpaid(manifest: Manifest, provider: str, system: System) -> Unpaid | None:
    """Return why a bundle's precision does not pay here; None where nothing is known against it.

    Args:
        manifest: What the bundle says of itself.
        provider: The processor or backend of the runtime that runs it.
        system: The system whose processor is read.
    """
    dynamic = manifest.target == "onnx" and manifest.precision == "dynamic" and provider == "cpu"
    if not dynamic or not is_arm_without_dot_product(system):
        return None
    return Unpaid(
        words="ONNX Runtime's dynamic range is slower than fp32 on this processor",
        reason="it is an Arm processor without instructions for products of 8-bit integers",
        cure="take fp32, or convert to tflite",
    )
