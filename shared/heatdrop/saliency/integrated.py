"""Integrated gradients with noise: what each pixel adds to the score on the way from a blurred picture to the image.

Integrated gradients are those of Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks" (ICML 2017). Noise
on each step is added as SmoothGrad adds it, since it made maps more faithful at the same cost. The way begins at the
blurred image (Xu, Venugopalan, Sundararajan, "Attribution in scale and space", CVPR 2020): a black picture is another
exposure to a model that standardises each image, and says nothing about what is in it.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.head import Score
from heatdrop.saliency import checks
from heatdrop.saliency.gradient_engine import GradientEngine, GraphSpec
from heatdrop.saliency.maps import Float, SaliencyMaps, empty_invalid_of, of_one_method, score_warnings
from heatdrop.saliency.noise import image_key, standard_normals

NAME = "integrated_gradients"


def integrated_gradients(
    engine: GradientEngine,
    images: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    top: int = 3,
    steps: int = 20,
    noise_level: float = 0.20,
    score: Score = "logit",
    seed: int = 0,
) -> SaliencyMaps:
    """Explain images by the gradients on the way from their blurred copies to them.

    Args:
        engine: of the model.
        images: (B, H, W, C) float32, already preprocessed.
        classes: (B, K) class indices to explain; the ``top`` best of each image by default.
        top: how many classes to explain when ``classes`` is not given.
        steps: on the way, 1 or more.
        noise_level: the noise's standard deviation as a share of the image's max - min.
        score: what is differentiated; the probability where the model has no logit.
        seed: 0 or more. The noise depends on (seed, image content, step) alone.

    Returns:
        Maps in units of score: the absolute value of what a pixel adds, its channels summed.

    Raises:
        InvalidRequest: an argument has the wrong shape or is out of its range; the message names it.
    """
    batch = checks.images(images, engine.input_shape)
    if steps < 1:
        raise InvalidRequest(f"steps is {steps}; use 1 or more")
    checks.Settings(("signed",), score, steps, noise_level, "stratified", "auto", None).check(engine.head)
    checks.seed(seed)
    explained = engine.head.explained(score)
    scores = engine.predict(batch)
    chosen = checks.classes(classes, scores, top)
    scores = np.take_along_axis(scores, chosen, axis=1)
    maps = np.zeros((*chosen.shape, *batch.shape[1:3]), np.float32)
    warnings = []
    for index, image in enumerate(batch):
        difference = image - blurred(image)
        gradients = _mean_gradients(engine, image, difference, chosen[index], steps, noise_level, explained, seed)
        maps[index] = np.abs((gradients * difference).sum(-1))
        said = empty_invalid_of(NAME, maps[index], image, chosen[index])
        warnings.append((*said, *score_warnings(scores[index], chosen[index], score, engine.head)))
    return of_one_method(
        NAME, maps, chosen, scores, explained, warnings, samples=steps, sampling="stratified", seed=seed
    )


def blurred(image: Float) -> Float:
    """The image (H, W, C) with a tenth of its longer side as the blur's standard deviation."""
    if not np.ptp(image):
        return image  # OpenCV would leave rounding errors.
    soft = cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 10)
    return np.asarray(soft, np.float32).reshape(image.shape)


def _mean_gradients(
    engine: GradientEngine,
    image: Float,
    difference: Float,
    classes: NDArray[np.int64],
    steps: int,
    noise_level: float,
    score: Score,
    seed: int,
) -> Float:
    """(K, H, W, C): the mean of the gradients at ``steps`` points between the blurred image and the image."""
    size = min(engine.batch_size, steps)
    spec = GraphSpec(("g",), score, size)
    sigma = np.float32(noise_level * (image.max() - image.min()))
    key = image_key(image)

    def sums_of(first: int) -> Float:
        count = min(size, steps - first)
        # The middle of each of the equal parts of the way, as seen from its end, the image.
        places = (np.arange(first, first + count, dtype=np.float32) + np.float32(0.5)) / np.float32(steps) - 1
        moves = np.zeros((size, *image.shape), np.float32)
        moves[:count] = places[:, None, None, None] * difference
        moves[:count] += sigma * standard_normals(
            image.shape, seed=seed, key=key, first=first, count=count, sampling="stratified"
        )
        (total,) = engine.gradient_sums(image, moves, count, classes, spec)[0]
        return total

    parts = engine.map_parallel(sums_of, range(0, steps, size))
    mean = np.sum(np.stack(parts), axis=0, dtype=np.float64) / steps
    return np.asarray(mean, np.float32)
