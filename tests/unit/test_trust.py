"""The certificate tells models whose maps can be trusted from those whose maps cannot."""

from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from heatdrop import images
from heatdrop.errors import InvalidDataset
from heatdrop.model import packing
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.model.certificate import Certificate
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency import smoothgrad
from heatdrop.trust.certify import certify
from heatdrop.trust.measures import rank_correlation, similarity, with_interval
from heatdrop.trust.perturbation import measure_areas
from heatdrop.trust.randomisation import cascading_shuffle, weighted_layers
from heatdrop.trust.shortcut import shortcut_alarms
from heatdrop.vocabulary import ExplanationSettings

SIDE = 64
TAG = (slice(2, 12), slice(2, 12))
CHEST_XRAYS = Path(__file__).parents[3] / "shared" / "data" / "chest_xray" / "train"
SETTINGS = ExplanationSettings(samples=8)

needs_xrays = pytest.mark.skipif(not CHEST_XRAYS.is_dir(), reason="the chest X-ray set is not here")


# ------------------------------------------------------------------------------------------------------ measures


def test_map_is_like_itself_and_unlike_noise() -> None:
    random = np.random.default_rng(0)
    raw = cv2.GaussianBlur(random.random((SIDE, SIDE), np.float32), (0, 0), 4)
    noise = random.random((SIDE, SIDE), np.float32)
    for measure in (rank_correlation, similarity):
        assert measure(raw, raw) == pytest.approx(1)
        assert measure(raw, noise) < 0.3
        assert measure(raw, np.zeros_like(raw)) == 0


def test_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    values = np.random.default_rng(1).normal(3, 1, 400)
    mean, low, high = with_interval(values)
    assert low < mean < high
    assert abs(mean - 3) < 0.2
    _, few_low, few_high = with_interval(values[:20])
    assert high - low < few_high - few_low


def test_insertion_and_deletion_reward_the_map_that_knows_where_the_score_comes_from() -> None:
    image = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

    def score(pixels: list[np.ndarray]) -> np.ndarray:
        """How much of the middle is as it was."""
        return np.array([(p[24:40, 24:40] == image[24:40, 24:40]).mean() for p in pixels], np.float32)

    knowing, ignorant = np.zeros((2, SIDE, SIDE), np.float32)
    knowing[24:40, 24:40] = 1
    ignorant[:8] = 1
    areas = measure_areas(image, {"good": knowing, "bad": ignorant}, score)
    assert (areas["good"][:, 0] > areas["bad"][:, 0] + 0.2).all()
    assert (areas["good"][:, 1] < areas["bad"][:, 1] - 0.2).all()


def test_shuffling_goes_from_the_head_to_every_layer_and_keeps_the_values(small_model: keras.Model) -> None:
    def shuffled_layers(model: keras.Model) -> list[bool]:
        pairs = zip(weighted_layers(small_model), weighted_layers(model), strict=True)
        return [
            any(not np.array_equal(a, b) for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
            for one, two in pairs
            if one.get_weights()[0].ndim > 1
        ]

    steps = [(shuffled_layers(model), model.get_weights()) for _, model in cascading_shuffle(small_model, 4, seed=0)]
    counts = [sum(changed) for changed, _ in steps]
    assert counts[0] == 1
    assert steps[0][0][-1]
    assert counts == sorted(counts)
    assert all(steps[-1][0])
    for before, after in zip(small_model.get_weights(), steps[-1][1], strict=True):
        np.testing.assert_array_equal(np.sort(before, axis=None), np.sort(after, axis=None))


def test_alarm_names_the_corner_that_all_maps_point_at() -> None:
    random = np.random.default_rng(3)
    maps = [random.random((SIDE, SIDE), np.float32) for _ in range(10)]
    assert shortcut_alarms(maps) == ()
    for raw in maps:
        raw[TAG] += 10
    (alarm,) = shortcut_alarms(maps)
    assert "top left" in alarm


# --------------------------------------------------------------------------------- models trained here, and their maps


def read_xrays() -> tuple[np.ndarray, np.ndarray]:
    """(N, SIDE, SIDE, 3) real chest radiographs, half of them normal, and whether each shows pneumonia."""
    pixels, targets = [], []
    for target, folder in enumerate(("NORMAL", "PNEUMONIA")):
        for file in sorted((CHEST_XRAYS / folder).iterdir())[:: 4 if folder == "NORMAL" else 12][:300]:
            pixels.append(images.resize(images.decode(file.read_bytes()).pixels, (SIDE, SIDE)))
            targets.append(target)
    return np.stack(pixels), np.array(targets)


def tagged(pixels: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """The same pictures; the ``marked`` ones with a letter in the corner, as a technician would put it."""
    result = pixels.copy()
    for index in np.flatnonzero(marked):
        cv2.putText(result[index], "R", (2, 11), cv2.FONT_HERSHEY_PLAIN, 0.8, (255, 255, 255), 1)
    return result


def network() -> keras.Model:
    keras.utils.set_random_seed(5)
    layers = [keras.Input((SIDE, SIDE, 3))]
    for filters in (16, 32, 64):
        layers += [keras.layers.Conv2D(filters, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
    layers += [keras.layers.Conv2D(64, 3, activation="relu"), keras.layers.GlobalMaxPooling2D()]
    return keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")])


def train(pixels: np.ndarray, targets: np.ndarray, epochs: int) -> keras.Model:
    model = network()
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(preprocess(pixels, "densenet"), targets, batch_size=32, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def xrays() -> tuple[np.ndarray, np.ndarray]:
    return read_xrays()


@pytest.fixture(scope="module")
def write_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[np.ndarray, np.ndarray], Path]:
    def write(pixels: np.ndarray, targets: np.ndarray) -> Path:
        root = tmp_path_factory.mktemp("xrays")
        for index, (picture, target) in enumerate(zip(pixels, targets, strict=True)):
            folder = root / ("absent", "present")[target]
            folder.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"{index}.png"), picture)
        return root

    return write


@pytest.fixture(scope="module")
def certified(
    tmp_path_factory: pytest.TempPathFactory, write_folder: Callable[[np.ndarray, np.ndarray], Path]
) -> Callable[..., Certificate]:
    def run(model: keras.Model, pixels: np.ndarray, targets: np.ndarray, count: int = 20) -> Certificate:
        folder = tmp_path_factory.mktemp("bundle") / "bundle"
        bundle = packing.pack(model, folder, name="t", labels=("absent", "present"), preprocess_as="densenet")
        measured = certify(bundle, write_folder(pixels, targets), settings=[SETTINGS], count=count)
        return measured.certificates[0]

    return run


@pytest.mark.slow
@needs_xrays
def test_model_that_reads_a_corner_tag_is_found_out(xrays: tuple[np.ndarray, np.ndarray], certified: Callable) -> None:
    pixels, _ = xrays
    marked = np.random.default_rng(4).random(len(pixels)) < 0.5
    pictures = tagged(pixels, marked)
    half = np.random.default_rng(6).random(len(pixels)) < 0.7
    model = train(pictures[half], marked[half].astype(int), epochs=12)
    seen = pictures[~half & marked][:30]
    inputs = preprocess(seen, "densenet")
    assert model.predict(inputs, verbose=0).argmax(1).mean() > 0.95, "the tag was not learnt"
    maps = smoothgrad(model, inputs, np.ones((len(seen), 1), np.int64), samples=8).maps["mean_abs"][:, 0]
    box = np.zeros((SIDE, SIDE), bool)
    box[:16, :16] = True
    energy = maps[:, box].sum(1) / maps.sum((1, 2))
    pointing = [box[np.unravel_index(raw.argmax(), raw.shape)] for raw in maps]
    assert energy.mean() > 4 * box.mean()
    assert np.mean(pointing) > 0.9
    certificate = certified(model, pictures[~half], marked[~half].astype(int))
    assert any("top left" in alarm for alarm in certificate.alarms)


@pytest.mark.slow
@needs_xrays
def test_sound_model_does_not_fail_or_alarm(xrays: tuple[np.ndarray, np.ndarray], certified: Callable) -> None:
    pixels, targets = xrays
    half = np.random.default_rng(6).random(len(pixels)) < 0.7
    certificate = certified(train(pixels[half], targets[half], epochs=12), pixels[~half], targets[~half], count=40)
    assert certificate.alarms == ()
    assert certificate.grade != "failed", certificate.summary


@pytest.mark.slow
@needs_xrays
def test_model_of_shuffled_labels_and_model_of_random_weights_fail(
    xrays: tuple[np.ndarray, np.ndarray], certified: Callable
) -> None:
    pixels, targets = xrays
    half = np.random.default_rng(6).random(len(pixels)) < 0.7
    shuffled = train(pixels[half], np.random.default_rng(8).permutation(targets[half]), epochs=6)
    for model in (shuffled, network()):
        certificate = certified(model, pixels[~half], targets[~half])
        assert certificate.grade == "failed"


def test_folder_with_other_classes_than_the_bundle_is_refused(
    small_bundle: Bundle, chest_jpeg: Path, tmp_path: Path
) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for index in range(10):
            (tmp_path / label / f"{index}.jpg").write_bytes(chest_jpeg.read_bytes())
    with pytest.raises(InvalidDataset, match="cat, dog"):
        certify(open_bundle(small_bundle.folder), tmp_path, settings=[SETTINGS])
