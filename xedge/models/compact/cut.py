"""Cut a narrower, shallower Xception out of a trained one.

Every convolution of the small network takes the filters of the channels that are kept. Every pointwise one is then
solved anew, in order from the photo on, by ridge regression from what the small network really computes to what the
teacher computes at the same place: He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017,
section 3.1.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from xedge.models.xception import XceptionConfig, xception

Array = npt.NDArray[np.float32]
Kept = npt.NDArray[np.int64]
ROWS = 40_000


def cut(teacher: Any, config: XceptionConfig, photos: Array) -> Any:
    """Return a trained network of the given configuration.

    Args:
        teacher: A full-size Xception with the layer names of ``xedge.models.xception``.
        config: The network to build, which is separable, depthwise first and residual.
        photos: Some training photos, (N, height, width, channels) float32.
    """
    return _Cut(teacher, config, photos).run()


class _Cut:
    """The state of one cut: which of the teacher's channels each tensor keeps."""

    def __init__(self, teacher: Any, config: XceptionConfig, photos: Array) -> None:
        self.config, self.photos = config, photos
        self.student = xception(config)
        self.teacher = _at_size(teacher, config.input_shape)
        self.middle = config.middle_blocks
        self.rng = np.random.default_rng(0)

    def run(self) -> Any:
        kept = self._ordinary("block1_conv1", np.arange(self.config.input_shape[2]), 32)
        kept = self._ordinary("block1_conv2", kept, 64)
        kept = self._downsampling(2, 2, kept, (128, 128))
        kept = self._downsampling(3, 3, kept, (256, 256))
        kept = self._downsampling(4, 4, kept, (728, 728), out_kept=self._stream(728))
        sources = np.linspace(5, 12, self.middle).round().astype(int) if self.middle else []
        for index, source in enumerate(sources):
            kept = self._middle(5 + index, int(source), kept)
        kept = self._downsampling(5 + self.middle, 13, kept, (728, 1024))
        last = 6 + self.middle
        kept = self._separable(f"block{last}_sepconv1", "block14_sepconv1", kept, 1536)
        kept = self._separable(f"block{last}_sepconv2", "block14_sepconv2", kept, 2048)
        self._head(kept)
        return self.student

    def _downsampling(
        self, block: int, source: int, kept: Kept, published: tuple[int, int], out_kept: Kept | None = None
    ) -> Kept:
        _, teacher_bn = _shortcut(self.teacher, source)
        student_conv, student_bn = _shortcut(self.student, block)
        width = self.config.channels(published[1])
        out = out_kept if out_kept is not None else self._strongest(_add_after(self.teacher, source).output, width)
        inside = self._separable(f"block{block}_sepconv1", f"block{source}_sepconv1", kept, published[0])
        self._separable(f"block{block}_sepconv2", f"block{source}_sepconv2", inside, published[1], out=out)
        x = self._student_value(student_conv.input)[:, ::2, ::2]
        self._solve(x, teacher_bn.output, out, student_bn, student_conv.kernel)
        return out

    def _middle(self, block: int, source: int, kept: Kept) -> Kept:
        inside = kept
        for step in (1, 2):
            inside = self._separable(f"block{block}_sepconv{step}", f"block{source}_sepconv{step}", inside, 728)
        self._separable(f"block{block}_sepconv3", f"block{source}_sepconv3", inside, 728, out=kept)
        return kept

    def _ordinary(self, name: str, kept: Kept, published: int) -> Kept:
        layer = self.student.get_layer(name)
        bn = self.teacher.get_layer(f"{name}_bn").output
        out = self._strongest(keras.ops.relu(bn), self.config.channels(published))
        stride = layer.strides[0]
        x = self._student_value(layer.input)
        patches = keras.ops.convert_to_numpy(keras.ops.image.extract_patches(x, 3, strides=stride, padding="valid"))
        self._solve(patches, bn, out, self.student.get_layer(f"{name}_bn"), layer.kernel)
        return out

    def _separable(self, name: str, source: str, kept: Kept, published: int, out: Kept | None = None) -> Kept:
        layer = self.student.get_layer(name)
        bn = self.teacher.get_layer(f"{source}_bn").output
        if out is None:
            out = self._strongest(keras.ops.relu(bn), self.config.channels(published))
        depthwise = keras.ops.convert_to_numpy(self.teacher.get_layer(source).depthwise_kernel)[:, :, kept]
        layer.depthwise_kernel.assign(depthwise)
        x = self._student_value(layer.input)
        filtered = np.concatenate(
            [
                keras.ops.convert_to_numpy(keras.ops.depthwise_conv(x[i : i + 32], depthwise, padding="same"))
                for i in range(0, len(x), 32)
            ]
        )
        self._solve(filtered, bn, out, self.student.get_layer(f"{name}_bn"), layer.pointwise_kernel)
        return out

    def _solve(self, x: Array, teacher_tensor: Any, out: Kept, bn: Any, kernel: Any) -> None:
        """Set kernel and batch normalization so that x predicts the teacher's kept channels."""
        target = keras.Model(self.teacher.input, teacher_tensor).predict(self.photos, batch_size=32, verbose=0)
        rows = x.reshape(-1, x.shape[-1])
        wanted = target.reshape(-1, target.shape[-1])
        pick = self.rng.choice(len(rows), min(ROWS, len(rows)), replace=False)
        a = rows[pick].astype(np.float64)
        b = wanted[pick][:, out].astype(np.float64)
        a_mean, b_mean = a.mean(0), b.mean(0)
        a -= a_mean
        gram = a.T @ a
        gram[np.diag_indices_from(gram)] += 1e-3 * np.trace(gram) / len(gram) + 1e-9
        weights = np.linalg.solve(gram, a.T @ (b - b_mean))
        kernel.assign(weights.reshape(kernel.shape).astype(np.float32))
        mean, variance = a_mean @ weights, (a @ weights).var(0)
        bn.set_weights([np.sqrt(variance + bn.epsilon), b_mean, mean, variance])
        error = ((b - b_mean - a @ weights) ** 2).sum() / ((b - b_mean) ** 2).sum()
        print(f"{bn.name}: unexplained {100 * error:.1f} %", flush=True)

    def _head(self, kept: Kept) -> None:
        source, layer = self.teacher.layers[-1], self.student.layers[-1]
        kernel, bias = source.get_weights()
        layer.set_weights([kernel[kept], bias])

    def _stream(self, published: int) -> Kept:
        """The channels kept of the middle flow's residual stream: those strongest at its end."""
        return self._strongest(_add_after(self.teacher, 12).output, self.config.channels(published))

    def _strongest(self, tensor: Any, count: int) -> Kept:
        pooled = keras.ops.mean(keras.ops.square(tensor), axis=(1, 2))
        energy = keras.Model(self.teacher.input, pooled).predict(self.photos[:96], batch_size=32, verbose=0)
        # The square root keeps one extreme photo from choosing the channels.
        return np.sort(np.argsort(-np.sqrt(energy).mean(0))[:count])

    def _student_value(self, tensor: Any) -> Array:
        value: Array = keras.Model(self.student.input, tensor).predict(self.photos, batch_size=32, verbose=0)
        return value


def _at_size(teacher: Any, input_shape: tuple[int, int, int]) -> Any:
    """The same trained network for another photo size."""
    classes = teacher.output_shape[-1]
    model = xception(XceptionConfig(input_shape=input_shape, classes=classes))
    model.set_weights(teacher.get_weights())
    return model


def _shortcut(model: Any, block: int) -> tuple[Any, Any]:
    """The shortcut convolution of a downsampling block and its batch normalization."""
    add = _add_after(model, block)
    for tensor in add.input:
        bn = tensor._keras_history.operation
        if isinstance(bn, keras.layers.BatchNormalization):
            return bn.input._keras_history.operation, bn
    raise ValueError(f"block {block} of {model.name} has no shortcut convolution")


def _add_after(model: Any, block: int) -> Any:
    adds = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    return adds[block - 2]
