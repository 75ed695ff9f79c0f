"""One image and its model become heatmaps: the right ones, the same ones every time."""

import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import keras
import numpy as np
import pytest

from heatdrop import images
from heatdrop.errors import InvalidBundle, RejectedImage, TensorFlowMissing
from heatdrop.explaining.explainer import Explainer, Explanation, rendering
from heatdrop.images import Limits
from heatdrop.model import packing
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.model.classifier import Classifier, model_input
from heatdrop.model.loading import load_keras_model
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.activations import ActivationMaps
from heatdrop.version import __version__
from heatdrop.vocabulary import DISCLAIMER, ESTIMATORS, ExplanationSettings, Prediction

SETTINGS = ExplanationSettings(top=2, samples=4, seed=11)


@pytest.fixture(scope="module")
def explainer(tiny_bundle: Bundle) -> Explainer:
    return Explainer(tiny_bundle, SETTINGS)


@pytest.fixture(scope="module")
def chest(radiographs: Path) -> bytes:
    pixels = images.decode((radiographs / "RG1_J2KI.dcm").read_bytes()).pixels
    return cv2.imencode(".jpg", images.resize(pixels, (900, 800)))[1].tobytes()


@pytest.fixture(scope="module")
def predictions(tiny_bundle: Bundle, chest: bytes) -> tuple[Prediction, ...]:
    return Classifier(tiny_bundle).classify(images.decode(chest, at_least=tiny_bundle.size))


@pytest.fixture(scope="module")
def explanation(explainer: Explainer, chest: bytes, predictions: tuple[Prediction, ...]) -> Explanation:
    return explainer.explain(chest, predictions)


def arrays_of(explanation: Explanation, position: int = 0) -> dict[str, Any]:
    with np.load(io.BytesIO(explanation.heatmaps[position].maps[1]), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_the_best_classes_are_explained_best_first(explanation: Explanation, predictions) -> None:
    assert [heatmap.label for heatmap in explanation.heatmaps] == [p.label for p in predictions[:2]]


def test_the_map_in_the_file_is_smoothgrads_of_what_the_classifier_saw(
    explanation: Explanation, tiny_bundle: Bundle, chest: bytes, predictions
) -> None:
    classes = [tiny_bundle.labels.index(p.label) for p in predictions[:2]]
    expected = smoothgrad(
        load_keras_model(tiny_bundle),
        model_input(images.decode(chest, at_least=tiny_bundle.size), tiny_bundle)[None],
        [classes],
        samples=4,
        seed=11,
    )
    for position in range(2):
        found = arrays_of(explanation, position)
        np.testing.assert_allclose(found["mean_abs"], expected.maps["mean_abs"][0, position], rtol=1e-4, atol=1e-8)
        error = expected.standard_errors["mean_abs"][0, position]
        np.testing.assert_allclose(found["standard_error"], error, rtol=1e-3, atol=1e-7)
        assert found["mean_abs"].shape == (48, 32)
    assert not np.allclose(arrays_of(explanation, 0)["mean_abs"], arrays_of(explanation, 1)["mean_abs"])


def test_the_file_says_all_that_is_needed_to_make_the_map_again(explanation, tiny_bundle: Bundle, predictions) -> None:
    assert json.loads(str(arrays_of(explanation)["provenance"])) == {
        "heatdrop": __version__,
        "method": "smoothgrad",
        "score": "logit",
        "sampling": "stratified",
        "samples": 4,
        "noise_level": 0.2,
        "estimator": "mean_abs",
        "jitter": 0,
        "seed": 11,
        "label": predictions[0].label,
        "probability": predictions[0].score,
        "model": {"name": "tiny", "version": tiny_bundle.model.version},
        "certificate": dict.fromkeys(ESTIMATORS, "not measured"),
        "input": {"height": 48, "width": 32, "preprocess": "densenet"},
        "units": "score per unit of preprocessed input, squared for squared and variance; maximum over channels",
        "warnings": [],
        "note": DISCLAIMER,
    }


def test_explaining_again_leaves_the_same_bytes(explainer, explanation, chest: bytes, predictions) -> None:
    again = explainer.explain(chest, predictions)
    assert [heatmap.files for heatmap in again.heatmaps] == [heatmap.files for heatmap in explanation.heatmaps]


def test_names_of_files_are_harmless_and_differ_whatever_the_labels(
    explanation: Explanation, tiny_bundle: Bundle
) -> None:
    names = [name for heatmap in explanation.heatmaps for name, _ in heatmap.files]
    assert len(set(names)) == 6
    for heatmap in explanation.heatmaps:
        index = tiny_bundle.labels.index(heatmap.label)
        stem = {0: "0-x-1", 1: "1", 2: "2-a-0m"}[index]
        kinds = ("overlay.png", "figure.png", "maps.npz")
        assert tuple(name for name, _ in heatmap.files) == tuple(f"{stem}.{kind}" for kind in kinds)


def test_the_overlay_has_the_proportions_of_the_image_and_not_of_the_models_input(explanation: Explanation) -> None:
    shown = cv2.imdecode(np.frombuffer(explanation.heatmaps[0].overlay[1], np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (768, 683, 3)


def test_a_map_of_the_plain_gradient_has_no_standard_error(tiny_bundle: Bundle, chest: bytes, predictions) -> None:
    plain = Explainer(tiny_bundle, ExplanationSettings(top=20, samples=0)).explain(chest, predictions)
    assert len(plain.heatmaps) == 3  # as many as the model has
    assert set(arrays_of(plain)) == {*ESTIMATORS, "provenance"}


def test_the_file_holds_the_maps_of_all_estimators_and_the_heatmap_draws_the_one_asked_for(
    tiny_bundle: Bundle, chest: bytes, predictions
) -> None:
    explained = {
        name: Explainer(tiny_bundle, SETTINGS.model_copy(update={"estimator": name})).explain(chest, predictions)
        for name in ("mean_abs", "squared")
    }
    for name in ESTIMATORS:
        one, other = (arrays_of(each)[name] for each in explained.values())
        np.testing.assert_array_equal(one, other)
    seen = images.decode(chest, at_least=(768, 768)).pixels
    for name, each in explained.items():
        assert each.heatmaps[0].overlay[1] == rendering.picture(rendering.overlaid(seen, arrays_of(each)[name]))


@pytest.mark.parametrize("settings", [{"samples": 2}, {"samples": 0}, {"method": "gradcam"}])
@pytest.mark.parametrize("ensemble", [False, True])
def test_the_file_says_what_was_differentiated_and_how_the_noise_was_drawn(
    tmp_path: Path, chest: bytes, ensemble: bool, settings: dict[str, Any]
) -> None:
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="tanh")(inputs))
    scores = [keras.layers.Dense(2, activation="softmax")(x) for _ in range(2)]
    model = keras.Model(inputs, keras.layers.Average()(scores) if ensemble else scores[0])
    bundle = packing.pack(model, tmp_path / "b", name="m", labels=["a", "b"], preprocess_as="scale01")
    predictions = Classifier(bundle).classify(images.decode(chest, at_least=bundle.size))

    explanation = Explainer(bundle, ExplanationSettings(top=1, **settings)).explain(chest, predictions)

    said = json.loads(str(arrays_of(explanation)["provenance"]))
    assert said["score"] == ("probability" if ensemble else "logit")
    assert any("of the probability" in warning for warning in said["warnings"]) == ensemble
    assert said.get("sampling") == ("stratified" if settings.get("samples") else None)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam", "hirescam"])
def test_other_methods_leave_their_map_under_their_name(tiny_bundle: Bundle, chest: bytes, predictions, method) -> None:
    explainer = Explainer(tiny_bundle, ExplanationSettings(method=method, top=1))
    found = arrays_of(explainer.explain(chest, predictions))
    expected = ActivationMaps(load_keras_model(tiny_bundle), method).maps(
        model_input(images.decode(chest, at_least=tiny_bundle.size), tiny_bundle)[None],
        [[tiny_bundle.labels.index(predictions[0].label)]],
    )
    np.testing.assert_allclose(found[method], expected.maps[method][0, 0], rtol=1e-5, atol=1e-8)
    assert set(found) == {method, "provenance"}
    said = json.loads(str(found["provenance"]))
    assert said["method"] == method
    assert "samples" not in said


def test_the_picture_is_the_image_at_the_size_of_the_overlay(explanation: Explanation, chest: bytes) -> None:
    name, content = explanation.picture
    assert name == "picture.png"
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    wanted = rendering.at_display_size(images.decode(chest, at_least=(768, 768)).pixels)
    np.testing.assert_array_equal(found[..., ::-1], wanted)
    assert found.shape == (768, 683, 3)


def test_what_cannot_be_decoded_is_rejected(tiny_bundle: Bundle, chest: bytes, predictions) -> None:
    with pytest.raises(RejectedImage):
        Explainer(tiny_bundle, SETTINGS, Limits(max_pixels=1000)).explain(chest, predictions)


def without_gradients(bundle: Path) -> Bundle:
    """As a bundle was packed before there were gradients in it."""
    (bundle / "gradients.tflite").unlink()
    description = json.loads((bundle / "bundle.json").read_text())
    del description["gradients"], description["digests"]["gradients.tflite"]
    (bundle / "bundle.json").write_text(json.dumps(description))
    return open_bundle(bundle)


@pytest.mark.parametrize("method", ["smoothgrad", "gradcam"])
def test_a_bundle_without_gradients_is_explained_by_tensorflow_and_says_so(
    bundle_copy: Path, small_bundle: Bundle, chest: bytes, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ExplanationSettings(method=method, samples=2, top=1)
    predictions = Classifier(small_bundle).classify(images.decode(chest))
    wanted = arrays_of(Explainer(small_bundle, settings).explain(chest, predictions))
    assert caplog.text == ""
    found = arrays_of(Explainer(without_gradients(bundle_copy), settings).explain(chest, predictions))
    assert "holds no gradients of its model, or is of an older version: pack it again" in caplog.text
    for name in wanted.keys() - {"provenance"}:
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-3, atol=2e-3 * wanted[name].max())


def test_where_tensorflow_is_missing_the_build_argument_is_named_that_brings_it(bundle_copy: Path) -> None:
    with (
        mock.patch("heatdrop.explaining.methods.find_spec", return_value=None),
        pytest.raises(TensorFlowMissing, match=r"pack it again.*--build-arg TENSORFLOW=tensorflow-cpu"),
    ):
        Explainer(without_gradients(bundle_copy), ExplanationSettings())


def test_a_changed_model_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "model.keras").write_bytes(b"other")
    with pytest.raises(InvalidBundle, match=r"model\.keras"):
        Explainer(open_bundle(bundle_copy), ExplanationSettings(), on_gpu=True)
