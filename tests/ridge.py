"""A head that is fitted to features, so that a network with a random body answers as a trained one does.

It needs NumPy only, because networks are also made where xedge is not installed.
"""

from __future__ import annotations

import numpy as np

# The ridge as a share of the features' mean power, and the logit that stands for certainty.
RIDGE, LOGITS = 10.0, 30.0


def fitted_head(features: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ridge regression from features to classes (Hoerl and Kennard, 1970), scaled to logits.

    Args:
        features: What the body computes of photos (N, features).
        truth: The class (N,) of each photo.
        classes: The number of classes.

    Returns:
        The kernel (features, classes) and the bias (classes,), float64.
    """
    features, wanted = features.astype(np.float64), np.eye(classes)[truth]
    mean, middle = features.mean(axis=0), wanted.mean(axis=0)
    moved = features - mean
    gram = moved @ moved.T
    weights = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), wanted - middle)
    kernel = moved.T @ weights * LOGITS
    return kernel, middle * LOGITS - mean @ kernel
