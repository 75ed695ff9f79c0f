"""A model from any known file becomes a bundle; nothing of a file is run."""

import json
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import save_file
from tests.unit.onnx_graphs import graph, node, numbers, saved

from heatdrop.errors import InvalidBundle
from heatdrop.images import DecodedImage
from heatdrop.model.bundle import open_bundle
from heatdrop.model.classifier import Classifier, model_input
from heatdrop.model.explainability import trial_pictures
from heatdrop.model.labels import read_labels, read_thresholds
from heatdrop.model.loading import load_keras_model
from heatdrop.model.model_files import load_model
from heatdrop.model.packing import pack_file
from heatdrop.saliency import smoothgrad


def exported(folder: Path, *, channels: int = 1, classes: int = 3, shape=(12, 16), last: str | None = None) -> Path:
    """A small network of grey or colour pictures that ends in logits, as an exporter writes it."""
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f v", "z" if last else "y"),
        *([node(last, "z", "y")] if last else []),
    ]
    constants = {"w": numbers(4, channels, 3, 3), "b": numbers(4), "v": numbers(4, classes, low=-3, high=3)}
    return saved(graph(nodes, constants, shape=("batch", channels, *shape)), folder)


def packed(folder: Path, model: Path, labels="a\nb\nc\n", preprocess="scale01", **settings):
    (folder / "labels").write_text(labels)
    return pack_file(model, folder / "labels", preprocess, folder / "bundle", "m", **settings)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_onnx_model_becomes_a_bundle_that_predicts_what_onnx_runtime_does(tmp_path: Path, channels: int) -> None:
    model = exported(tmp_path, channels=channels)
    bundle = packed(tmp_path, model, head="softmax")

    assert bundle.size == (12, 16)
    assert bundle.channels == channels
    assert bundle.description.thresholds is None
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    classifier = Classifier(bundle)
    for pixels in trial_pictures(bundle.size):
        image = DecodedImage(pixels, "PNG", 16, 12)
        given = model_input(image, bundle)
        logits = session.run(None, {"x": given.transpose(2, 0, 1)[None]})[0][0]
        wanted = np.exp(logits) / np.exp(logits).sum()
        found = {prediction.label: prediction.score for prediction in classifier.classify(image)}
        np.testing.assert_allclose([found[label] for label in "abc"], wanted, atol=1e-4)
    maps = smoothgrad(load_keras_model(bundle), given[None], samples=2)
    assert maps.score == "logit"
    assert maps.maps["mean_abs"].any()


@pytest.mark.parametrize("last", [None, "Sigmoid"])
def test_a_model_that_judges_each_label_by_itself_has_a_threshold_for_each(tmp_path: Path, last) -> None:
    (tmp_path / "thresholds.json").write_text("[0.2, 0.5, 1]")
    head = None if last else "sigmoid"
    model = exported(tmp_path, last=last)
    bundle = packed(tmp_path, model, head=head, threshold=str(tmp_path / "thresholds.json"))

    assert open_bundle(bundle.folder).description.thresholds == (0.2, 0.5, 1.0)


def test_one_threshold_holds_for_all_labels(tmp_path: Path) -> None:
    bundle = packed(tmp_path, exported(tmp_path), head="sigmoid", threshold="0.3")

    assert bundle.description.thresholds == (0.3, 0.3, 0.3)


def test_one_sigmoid_stands_for_two_classes(tmp_path: Path) -> None:
    bundle = packed(tmp_path, exported(tmp_path, classes=1), "no\nyes\n", head="sigmoid")

    predictions = Classifier(bundle).classify(DecodedImage(trial_pictures((12, 16))[0], "PNG", 16, 12))
    assert sum(prediction.score for prediction in predictions) == pytest.approx(1, abs=1e-6)
    assert bundle.description.thresholds is None


@pytest.mark.parametrize("suffix", [".onnx", ".keras"])
def test_a_model_of_any_size_is_packed_at_the_size_that_is_given(tmp_path: Path, suffix: str) -> None:
    if suffix == ".onnx":
        model = exported(tmp_path, shape=("h", "w"))
    else:
        model = tmp_path / "model.keras"
        inputs = keras.Input((None, None, 1))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="tanh")(inputs))
        keras.Model(inputs, keras.layers.Dense(3)(x)).save(model)

    with pytest.raises(InvalidBundle, match="any size; say which with --size"):
        packed(tmp_path, model, head="softmax")
    assert packed(tmp_path, model, head="softmax", size=(20, 10)).size == (20, 10)


def test_normalised_outputs_are_probabilities(tmp_path: Path) -> None:
    """As torchxrayvision's: behind the sigmoid, scaled by a threshold of each label."""
    nodes = [
        node("Conv", "x w b", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("Sigmoid", "f", "s"),
        node("Mul", "s half"),
    ]
    constants = {"w": numbers(3, 1, 3, 3), "b": numbers(3), "half": np.float32([0.5, 0.6, 0.7])}
    bundle = packed(tmp_path, saved(graph(nodes, constants, shape=(1, 1, 12, 16)), tmp_path))

    assert bundle.description.thresholds == (0.5, 0.5, 0.5)
    assert smoothgrad(load_keras_model(bundle), np.zeros((1, 12, 16, 1)), samples=0).score == "probability"


REFUSED = {
    "logits": ({}, "pack it with --head"),
    "another size": ({"size": (9, 9)}, "takes 12 x 16 pixels only; leave out --size"),
    "another head": ({"head": "tanh"}, "head is 'tanh'; choose one of softmax, sigmoid"),
    "too few labels": ({"labels": "a\nb\n", "head": "softmax"}, "2 labels for 3 outputs"),
    "thresholds for other labels": ({"head": "sigmoid", "threshold": "two.json"}, "2 thresholds for 3 labels"),
    "no probability": ({"head": "sigmoid", "threshold": "7"}, "give one from 0 to 1"),
    "no such preprocessing": ({"preprocess": "caffe"}, "preprocess is 'caffe'; choose one of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    settings, problem = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    Path("two.json").write_text("[0.5, 0.5]")

    with pytest.raises(InvalidBundle, match=problem):
        packed(tmp_path, exported(tmp_path), **settings)

    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "pytorch_model.bin", "MODEL.PKL"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")

    with pytest.raises(InvalidBundle, match=r"is a pickle, which runs code.*export the model as ONNX"):
        load_model(tmp_path / name)


def test_a_file_of_another_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"")

    with pytest.raises(InvalidBundle, match=r"of no known kind; .*\.onnx, \.keras"):
        load_model(tmp_path / "model.tflite")


def test_labels_that_are_empty_or_repeat_get_names_of_their_own(tmp_path: Path) -> None:
    """As torchxrayvision's lists of pathologies have them."""
    (tmp_path / "labels.json").write_text(json.dumps(["Mass", "", "Hernia", "Mass", ""]))

    assert read_labels(tmp_path / "labels.json") == ["Mass", "output 2", "Hernia", "Mass (output 4)", "output 5"]


@pytest.mark.parametrize("content", ["{}", "[[0.5]]", '["a"]', "[", "[true]"])
def test_thresholds_that_are_no_numbers_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "thresholds.json").write_text(content)

    with pytest.raises(InvalidBundle, match=r"the thresholds .* (are no list of numbers|cannot be read)"):
        read_thresholds(str(tmp_path / "thresholds.json"))


def test_weights_in_safetensors_fill_a_named_architecture(tmp_path: Path) -> None:
    made = keras.applications.MobileNetV2(weights=None, classes=3, input_shape=(32, 32, 3), alpha=1.0)
    save_file({weight.path: weight.numpy() for weight in made.weights}, tmp_path / "w.safetensors")

    loaded = load_model(tmp_path / "w.safetensors", (32, 32), architecture="MobileNetV2", classes=3)

    image = numbers(1, 32, 32, 3)
    np.testing.assert_array_equal(loaded(image), made(image))
    with pytest.raises(InvalidBundle, match=r"MobileNetV2 needs predictions/kernel of \(1280, 4\).* has \(1280, 3\)"):
        load_model(tmp_path / "w.safetensors", (32, 32), architecture="MobileNetV2", classes=4)
    with pytest.raises(InvalidBundle, match="weights alone; say of what with --architecture"):
        load_model(tmp_path / "w.safetensors")


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 99)

    with pytest.raises(InvalidBundle, match="no safetensors file"):
        load_model(tmp_path / "w.safetensors", (32, 32), architecture="MobileNetV2")
