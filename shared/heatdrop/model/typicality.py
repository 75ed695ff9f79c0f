"""How unusual is an image, compared with those that the model was trained and validated on?

The features in front of the model's last layer are described by a Gaussian (Lee, Lee, Lee, Shin, "A simple unified
framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018, without the classes). An
image is as unusual as its features are far from the centre of that Gaussian, in units of its spread, which is told as a
share: how many of the validation images are nearer.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatdrop.errors import InvalidBundle

DIRECTIONS = 64
"""Directions in which the spread of the features is kept; in all others it is taken to be the same."""

_SHARES = np.linspace(0, 1, 201)

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian over features (D,).

    Attributes:
        centre: (D,) their mean.
        directions: (D, k) orthonormal, those of the greatest spread.
        variances: (k,) along these directions.
        rest: the variance along each other direction.
    """

    centre: Float
    directions: Float
    variances: Float
    rest: float

    @classmethod
    def fit(cls, features: ArrayLike) -> "Gaussian":
        """Fit to features (N, D): probabilistic principal components (Tipping, Bishop, 1999)."""
        values = np.asarray(features, np.float64)
        centre = values.mean(0)
        _, spreads, directions = np.linalg.svd(values - centre, full_matrices=False)
        variances = spreads**2 / max(len(values) - 1, 1)
        kept = max(1, min(DIRECTIONS, len(variances) // 2))
        others = values.shape[1] - kept
        rest = float(variances[kept:].sum() / others) if others else 1.0
        floor = max(rest, 1e-6 * float(variances[0]), 1e-12)
        return cls(
            centre.astype(np.float32),
            directions[:kept].T.astype(np.float32),
            np.maximum(variances[:kept], floor).astype(np.float32),
            floor,
        )

    def distances(self, features: ArrayLike) -> Float:
        """(N,): the squared Mahalanobis distances of features (N, D) from the centre."""
        apart = np.asarray(features, np.float32) - self.centre
        along = np.square(apart @ self.directions)
        far: Float = (along * self.weights).sum(1) + np.square(apart).sum(1) / np.float32(self.rest)
        return far

    @property
    def weights(self) -> Float:
        """(k,): what the square along each direction adds to the squared length over ``rest``. It is below 0."""
        return (1 / self.variances - np.float32(1 / self.rest)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Typicality:
    """What the features of the images look like that a model knows, and how far those of the validation images are.

    Attributes:
        gaussian: of the features of training images.
        quantiles: of the distances of validation images, from the least to the greatest, at equal steps.
    """

    gaussian: Gaussian
    quantiles: tuple[float, ...]

    @classmethod
    def measure(cls, training: ArrayLike, validation: ArrayLike) -> "Typicality":
        """Measure from the features (N, D) of training and of validation images."""
        gaussian = Gaussian.fit(training)
        quantiles = np.quantile(gaussian.distances(validation), _SHARES)
        return cls(gaussian, tuple(float(value) for value in quantiles))

    def to_bytes(self) -> bytes:
        """An NPZ of it."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            centre=self.gaussian.centre,
            directions=self.gaussian.directions.astype(np.float16),
            variances=self.gaussian.variances,
            rest=np.float32(self.gaussian.rest),
            quantiles=np.array(self.quantiles),
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Typicality":
        """Read what ``to_bytes`` wrote.

        Raises:
            InvalidBundle: it is something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                gaussian = Gaussian(
                    arrays["centre"],
                    arrays["directions"].astype(np.float32),
                    arrays["variances"],
                    float(arrays["rest"]),
                )
                return cls(gaussian, tuple(arrays["quantiles"].tolist()))
        except (OSError, ValueError, KeyError) as error:
            raise InvalidBundle(f"what the model's images look like cannot be read: {error}") from error


def unusual(distance: float, quantiles: tuple[float, ...]) -> float:
    """The share of the validation images, 0 to 1, that are more usual than an image at this distance."""
    if not np.isfinite(distance):
        return 1.0
    return round(float(np.interp(distance, quantiles, np.linspace(0, 1, len(quantiles)))), 3)
