"""How unusual an image is: far from the features of the images that the model knows, and the same in LiteRT."""

from pathlib import Path

import keras
import numpy as np
import pytest

from heatdrop.errors import InvalidBundle
from heatdrop.images import DecodedImage
from heatdrop.model import packing
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier, model_input
from heatdrop.model.export import with_features
from heatdrop.model.typicality import Gaussian, Typicality, unusual
from heatdrop.vocabulary import unusual_in_words

SIDE = 32


def test_distance_is_mahalanobis_where_all_directions_are_kept() -> None:
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (500, 6)) @ random.normal(0, 1, (6, 6)) + 3
    gaussian = Gaussian.fit(features)
    assert gaussian.directions.shape == (6, 3)
    # With half of the directions kept, that is exact for a Gaussian that is round in the others.
    round_features = random.normal(0, 1, (20000, 6)) * [5, 4, 3, 1, 1, 1] + 3
    apart = round_features - round_features.mean(0)
    expected = np.einsum("nd,de,ne->n", apart, np.linalg.inv(np.cov(round_features.T)), apart)
    np.testing.assert_allclose(Gaussian.fit(round_features).distances(round_features), expected, rtol=0.05)


def test_share_counts_the_validation_images_that_are_nearer() -> None:
    quantiles = tuple(np.linspace(10, 30, 201).tolist())
    assert [unusual(distance, quantiles) for distance in (0, 10, 20, 30, 99)] == [0, 0, 0.5, 1, 1]
    assert unusual(float("nan"), quantiles) == 1


@pytest.mark.parametrize(
    ("share", "said"), [(None, ""), (0.5, ""), (0.989, ""), (0.99, "99.0%"), (0.995, "99.5%"), (1.0, "than all")]
)
def test_only_what_is_very_unusual_is_told(share: float | None, said: str) -> None:
    sentence = unusual_in_words(share)
    assert said in sentence
    assert bool(sentence) == bool(said)


def test_what_was_measured_is_read_again_as_it_was() -> None:
    random = np.random.default_rng(1)
    measured = Typicality.measure(random.normal(0, 1, (300, 20)), random.normal(0, 1, (100, 20)))
    again = Typicality.from_bytes(measured.to_bytes())
    features = random.normal(0, 2, (50, 20))
    np.testing.assert_allclose(again.gaussian.distances(features), measured.gaussian.distances(features), rtol=0.01)
    assert again.quantiles == pytest.approx(measured.quantiles)
    with pytest.raises(InvalidBundle, match="cannot be read"):
        Typicality.from_bytes(b"something else")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(16, 5, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(24, 3, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def smooth(count: int, seed: int) -> np.ndarray:
    """Pictures of soft slopes, (N, SIDE, SIDE, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    slopes = random.normal(0, 40, (count, 2))
    pictures = 128 + slopes[:, :1, None] * y + slopes[:, 1:, None] * x
    return np.repeat(pictures[..., None], 3, axis=-1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def bundle(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    both = with_features(model)
    assert both is not None
    parts = [both(pictures.astype(np.float32) / 255)[1].numpy() for pictures in (smooth(300, 0), smooth(200, 1))]
    folder = tmp_path_factory.mktemp("typical") / "bundle"
    labels, typicality = ("a", "b", "c"), Typicality.measure(*parts)
    return packing.pack(model, folder, name="t", labels=labels, preprocess_as="scale01", typicality=typicality)


def decoded(pixels: np.ndarray) -> DecodedImage:
    return DecodedImage(pixels, "PNG", SIDE, SIDE)


def test_picture_of_another_kind_is_unusual_and_one_of_the_same_kind_is_not(bundle: Bundle) -> None:
    classifier = Classifier(bundle)
    known = [classifier.look_at(decoded(picture)).unusual for picture in smooth(40, 2)]
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert 0.3 < np.mean([share for share in known if share is not None]) < 0.7
    assert classifier.look_at(decoded(noise)).unusual == 1


def test_litert_says_what_the_features_say(bundle: Bundle, model: keras.Model) -> None:
    both = with_features(model)
    assert both is not None
    classifier = Classifier(bundle)
    known = bundle.description.distances
    assert known is not None
    reference = Typicality.measure(
        *(both(pictures.astype(np.float32) / 255)[1].numpy() for pictures in (smooth(300, 0), smooth(200, 1)))
    )
    for picture in smooth(5, 3):
        features = both(model_input(decoded(picture), bundle)[None])[1].numpy()
        expected = unusual(float(reference.gaussian.distances(features)[0]), reference.quantiles)
        assert classifier.look_at(decoded(picture)).unusual == pytest.approx(expected, abs=0.02)


def test_bundle_that_does_not_know_its_images_says_nothing(tiny_bundle: Bundle) -> None:
    picture = np.zeros((48, 32, 3), np.uint8)
    seen = Classifier(tiny_bundle).look_at(DecodedImage(picture, "PNG", 32, 48))
    assert seen.unusual is None
    assert seen.predictions == Classifier(tiny_bundle).classify(DecodedImage(picture, "PNG", 32, 48))


def test_model_without_a_dense_layer_of_its_own_has_no_features() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    assert with_features(keras.Model(inputs, keras.layers.Softmax()(x))) is None


def test_bundled_model_knows_what_its_images_look_like() -> None:
    source = Path(__file__).parents[2] / "models" / "chest-xray" / "typicality.npz"
    assert Typicality.from_bytes(source.read_bytes()).gaussian.centre.shape == (1024,)
