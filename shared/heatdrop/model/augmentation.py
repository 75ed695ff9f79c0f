"""Training batches with equal shares of the classes, each image warped and re-exposed at random.

What is varied is what differs between hospitals and scanners: exposure, contrast (overall and local), crop and aspect
ratio. Every random number comes from (seed, step): the same seed gives the same batches.
"""

from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.model.dataset import Dataset
from heatdrop.model.preprocessing import preprocess

MARGIN = 1.15
"""Images are kept so many times larger than the model's input, so that zooming in does not blur them."""

LOCAL_CONTRAST = (-0.4, 1.2)
"""The range of the factor by which the difference of a pixel from its surroundings is added to it.

Below 0 the image is softened; above, its local contrast is raised, as some scanners do.
"""


def resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize (N, S, S, 3) to (N, size, size, 3)."""
    if pixels.shape[1] == size:
        return pixels
    return np.stack([images.resize(image, (size, size)) for image in pixels])


def training_batches(dataset: Dataset, size: int, batch_size: int, seed: int) -> "tf.data.Dataset":
    """An endless stream of ((B, size, size, 3) preprocessed float32, (B, classes) one-hot)."""
    source = resized(dataset.pixels, round(size * MARGIN))
    classes = len(dataset.labels)
    per_class = [
        tf.data.Dataset.from_tensor_slices(np.flatnonzero(dataset.targets == index))
        .shuffle(len(dataset), seed=seed + index, reshuffle_each_iteration=True)
        .repeat()
        for index in range(classes)
    ]
    indices = tf.data.Dataset.sample_from_datasets(per_class, [1 / classes] * classes, seed=seed)

    def gather(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.numpy_function(lambda i: source[i], [batch], tf.uint8)
        pixels.set_shape((None, source.shape[1], source.shape[2], 3))
        target = tf.gather(tf.constant(dataset.targets), batch)
        return augment(pixels, size, tf.stack([tf.constant(seed, tf.int64), step])), tf.one_hot(target, classes)

    return indices.batch(batch_size, drop_remainder=True).enumerate().map(gather).prefetch(4)


def augment(pixels: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Warp and re-expose (B, S, S, 3) uint8 into (B, size, size, 3) DenseNet input, by a stateless ``seed`` of two."""
    count = tf.shape(pixels)[0]
    seeds = tf.unstack(tf.random.split(seed, 11), num=11)

    def uniform(index: int, low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform([count, 1, 1, 1], seeds[index], low, high)

    x = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32) / 255.0,
        transforms=_random_affine(uniform, tf.cast(tf.shape(pixels)[1], tf.float32), float(size)),
        output_shape=[size, size],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    # Local contrast: what a pixel has more than the mean around it is raised or lowered.
    around = tf.image.resize(tf.image.resize(x, [size // 10, size // 10], "area"), [size, size])
    x = x + uniform(10, *LOCAL_CONTRAST) * (x - around)
    x = tf.clip_by_value(x, 1e-4, 1.0) ** tf.exp(uniform(6, -0.6, 0.6))
    mean = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
    x = mean + (x - mean) * tf.exp(uniform(7, -0.5, 0.4)) + uniform(8, -0.2, 0.2)
    noise = tf.random.stateless_normal(tf.shape(x)[:3], seeds[9])[..., None]
    x = tf.clip_by_value(x + noise * tf.maximum(uniform(9, -0.04, 0.04), 0.0), 0.0, 1.0)
    return (x - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225])


def _random_affine(uniform: Callable[[int, float, float], tf.Tensor], source: tf.Tensor, target: float) -> tf.Tensor:
    """Rotation, zoom, aspect ratio, shift and mirror as (B, 8) rows that map output to input coordinates."""
    angle = uniform(0, -0.14, 0.14)
    zoom = tf.exp(uniform(1, -0.28, 0.12))
    aspect = tf.exp(uniform(2, -0.12, 0.12))
    shift_x, shift_y = uniform(3, -0.07, 0.07) * source, uniform(4, -0.07, 0.07) * source
    mirror = tf.where(uniform(5, 0.0, 1.0) < 0.5, 1.0, -1.0)
    scale_x, scale_y = zoom * aspect * source / target, zoom / aspect * source / target
    a, b = tf.cos(angle) * scale_x * mirror, -tf.sin(angle) * scale_y
    c, d = tf.sin(angle) * scale_x * mirror, tf.cos(angle) * scale_y
    centre_in, centre_out = (source - 1) / 2, (target - 1) / 2
    offset_x = centre_in + shift_x - (a + b) * centre_out
    offset_y = centre_in + shift_y - (c + d) * centre_out
    zero = tf.zeros_like(a)
    return tf.reshape(tf.stack([a, b, offset_x, c, d, offset_y, zero, zero], axis=-1), [-1, 8])


def shifted(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The images (N, S, S, 3) as another hospital might show them, for validation under shift.

    Each is cropped and its exposure and contrast (overall and local) changed once, at random by ``seed``.
    """
    random = np.random.default_rng(seed)
    side = pixels.shape[1]
    result = np.empty_like(pixels)
    for index, image in enumerate(pixels):
        left, top, right, bottom = (random.uniform(0, 0.1, 4) * side).astype(int)
        crop = images.resize(np.ascontiguousarray(image[top : side - bottom, left : side - right]), (side, side))
        around = cv2.resize(images.resize(crop, (side // 10, side // 10)), (side, side)).astype(np.float32)
        crop = (crop + random.uniform(*LOCAL_CONTRAST) * (crop - around)).clip(0, 255).astype(np.uint8)
        table = (np.arange(256) / 255) ** np.exp(random.uniform(-0.6, 0.6))
        table = 0.5 + (table - 0.5) * np.exp(random.uniform(-0.6, 0.2)) + random.uniform(-0.12, 0.12)
        result[index] = cv2.LUT(crop, (table.clip(0, 1) * 255).astype(np.uint8))
    return result


def evaluation_input(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """(N, S, S, 3) bytes to the (N, size, size, 3) input that prediction uses."""
    return preprocess(resized(pixels, size), "densenet")
