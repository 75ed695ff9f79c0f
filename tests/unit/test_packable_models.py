"""Whatever is packed can be explained; whatever cannot is refused in a sentence that names the layer."""

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from heatdrop.errors import InvalidBundle
from heatdrop.model.classifier import Classifier
from heatdrop.model.explainability import trial_pictures
from heatdrop.model.labels import read_labels
from heatdrop.model.loading import load_keras_model
from heatdrop.model.packing import pack
from heatdrop.saliency import smoothgrad

SHAPE = (16, 16, 3)


def classifier(body=lambda x: x, head=layers.Dense, *, before=lambda x: x, outputs=2):
    """A small model with something of its own before the first convolution, between two, or at the end."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="tanh", name="first")(before(inputs))
    x = layers.GlobalAveragePooling2D(name="pooled")(body(x))
    if head is layers.Dense:
        return keras.Model(inputs, layers.Dense(outputs, activation="softmax", name="scores")(x))
    return keras.Model(inputs, head(x))


def packed(model: keras.Model, folder: Path, labels=("a", "b")):
    return pack(model, folder / "bundle", name="m", labels=labels, preprocess_as="scale01")


def explained_and_predicted(bundle):
    """What explaining and predicting a picture give, from the files of the bundle alone."""
    pixels = trial_pictures(bundle.size)[1:2]
    model = load_keras_model(bundle)
    maps = smoothgrad(model, pixels.astype(np.float32) / 255, samples=2)
    from heatdrop.images import DecodedImage

    found = {p.label: p.score for p in Classifier(bundle).classify(DecodedImage(pixels[0], "PNG", 16, 16))}
    return maps, [found[label] for label in bundle.labels]


def augmentations() -> dict[str, Any]:
    settings = {
        "RandomBrightness": [0.2],
        "RandomContrast": [0.2],
        "RandomColorDegeneration": [0.2],
        "RandomHue": [0.2],
        "RandomPosterization": [4],
        "RandomRotation": [0.1],
        "RandomSaturation": [0.2],
        "RandomSharpness": [0.2],
        "RandomShear": [0.1],
        "RandomTranslation": [0.1, 0.1],
        "RandomZoom": [0.1],
    }
    plain = ("AugMix", "CutMix", "MixUp", "RandAugment", "RandomElasticTransform", "RandomErasing", "RandomFlip")
    more = ("RandomColorJitter", "RandomGaussianBlur", "RandomGrayscale", "RandomInvert", "RandomPerspective")
    return settings | {name: [] for name in (*plain, *more)}


def test_every_augmentation_of_keras_is_left_out_of_a_bundle(tmp_path: Path) -> None:
    def augmented(x):
        for name, settings in augmentations().items():
            x = getattr(layers, name)(*settings)(x)
        return layers.Pipeline([layers.RandomFlip(), layers.RandomHue(0.1)])(x)

    inner = keras.Sequential([keras.Input(SHAPE), layers.RandomHue(0.3), layers.RandomFlip()], name="inner")
    model, plain = classifier(before=lambda x: inner(augmented(x))), classifier()
    plain.set_weights(model.get_weights())

    bundle = packed(model, tmp_path)

    kinds = {type(layer).__name__ for layer in load_keras_model(bundle)._flatten_layers()}
    assert not any("Random" in kind or "Mix" in kind for kind in kinds)
    pixels = trial_pictures(bundle.size)[1:2].astype(np.float32) / 255
    _, scores = explained_and_predicted(bundle)
    np.testing.assert_allclose(scores, plain(pixels)[0], atol=1e-4)
    assert {type(layer).__name__ for layer in model.layers} >= set(augmentations())


@pytest.mark.parametrize("layer", [layers.CenterCrop(12, 12), layers.AutoContrast((0, 1))])
def test_a_layer_that_changes_images_outside_training_stays(tmp_path: Path, layer: keras.Layer) -> None:
    bundle = packed(classifier(before=layer), tmp_path)

    assert any(type(each) is type(layer) for each in load_keras_model(bundle).layers)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_a_model_trained_in_low_precision_is_packed_in_float32(tmp_path: Path, policy: str) -> None:
    def body(x):
        x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", groups=2)(x))
        inner = keras.Sequential([keras.Input(x.shape[1:]), layers.Conv2D(4, 3, activation="relu")], name="inner")
        return ops.cast(inner(x), "float16") + 0.5

    keras.config.set_dtype_policy(policy)
    try:
        head = layers.Dense(2, activation="softmax", dtype="float32")
        model = classifier(body, head.__call__, before=lambda x: layers.RandomFlip()(layers.RandomHue(0.2)(x)))
    finally:
        keras.config.set_dtype_policy("float32")

    bundle = packed(model, tmp_path)

    loaded = load_keras_model(bundle)
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    assert not any("Random" in type(layer).__name__ for layer in loaded.layers)
    assert all(weight.dtype == "float32" for weight in loaded.weights)
    maps, scores = explained_and_predicted(bundle)
    assert maps.score == "logit"
    assert maps.maps["mean_abs"].any()
    pixels = trial_pictures(bundle.size)[1:2].astype(np.float32) / 255
    np.testing.assert_allclose(scores, model(pixels, training=False)[0], atol=0.01)


REFUSED = {
    "bicubic": (lambda: classifier(layers.Resizing(24, 24, interpolation="bicubic", name="enlarge")), "'enlarge'"),
    "bicubic, nested": (
        lambda: classifier(
            keras.Sequential(
                [keras.Input((14, 14, 4)), layers.Resizing(9, 9, interpolation="bicubic", name="shrink")], name="eye"
            )
        ),
        "'eye/shrink'",
    ),
    "an operation that LiteRT lacks": (lambda: classifier(lambda x: ops.cumprod(x, axis=1)), "'cumprod"),
    "hard sigmoid": (
        lambda: classifier(head=lambda x: layers.Dense(1, "hard_sigmoid", name="verdict")(x)),
        "'verdict'.*hard_sigmoid",
    ),
    "logits": (lambda: classifier(head=lambda x: layers.Dense(2, name="verdict")(x)), "end it in softmax or sigmoid"),
    "rounding": (lambda: classifier(lambda x: ops.round(x * 9)), "'round"),
    "a choice": (lambda: classifier(lambda x: ops.one_hot(ops.argmax(x, axis=-1), 4)), "'argmax"),
    "bins": (lambda: classifier(before=layers.Discretization([0.2, 0.5], name="binned")), "'binned'"),
    "a loop that Keras cannot save": (
        lambda: classifier(lambda x: ops.fori_loop(0, 3, lambda i, y: y * 2, x)),
        "ForiLoop",
    ),
    "a stopped gradient": (lambda: classifier(ops.stop_gradient), "'stop_gradient"),
    "no gradient at zero": (lambda: classifier(lambda x: ops.sqrt(x * 0)), "'(sqrt|multiply)"),
    "dead neurons": (lambda: classifier(lambda x: layers.ReLU(name="dead")(x - 9.0)), "'dead'"),
    "softmax over the batch": (lambda: classifier(head=lambda x: ops.softmax(x, axis=0)), "images of a batch"),
    "images mixed": (lambda: classifier(lambda x: x - ops.mean(x, axis=0, keepdims=True)), "batch"),
    "a batch of one": (
        lambda: classifier(head=lambda x: ops.softmax(ops.reshape(x, (1, 4)))),
        "several images at once",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explained_is_refused_by_the_name_of_its_layer(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make, problem = REFUSED[name]
    model = make()
    capfd.readouterr()
    outputs = model.output_shape[-1]

    with pytest.raises(InvalidBundle, match=problem) as caught:
        packed(model, tmp_path, labels="abcd"[: max(outputs, 2)])

    message = str(caught.value)
    assert "\n" not in message
    assert not re.search(r"MLIR|loc\(| at 0x|Traceback", message)
    assert "loc(" not in capfd.readouterr().err
    assert not (tmp_path / "bundle").exists()


@keras.saving.register_keras_serializable("hospital")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2


class Tripled(keras.layers.Layer):
    def call(self, x):
        return x * 3


@keras.saving.register_keras_serializable("hospital")
def doubled(x):
    return x * 2


def tripled(x):
    return x * 3


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        (Doubled(name="mine"), "Doubled"),
        (Tripled(name="mine"), "Tripled"),
        (layers.Conv2D(4, 1, activation=doubled, name="mine"), "doubled"),
        (layers.Activation(tripled, name="mine"), "tripled"),
        (layers.Lambda(lambda x: x * 2, name="mine"), "Lambda"),
        (keras.Sequential([keras.Input((14, 14, 4)), Tripled(name="mine")]), "Tripled"),
    ],
)
def test_a_layer_with_code_of_its_own_is_refused_by_name(tmp_path: Path, layer: keras.Layer, code: str) -> None:
    with pytest.raises(InvalidBundle, match=rf"'mine' needs code of its own \(.*{code}\)"):
        packed(classifier(layer), tmp_path)


def two_outputs(x):
    inputs = keras.Input(x.shape[1:])
    early = layers.Conv2D(4, 3, padding="same", activation="tanh")(inputs)
    late = layers.Conv2D(4, 3, padding="same", activation="tanh")(early)
    first, second = keras.Model(inputs, [early, late], name="backbone")(x)
    return first + second


@pytest.mark.parametrize(
    "head",
    [
        lambda x: layers.Average()([layers.Dense(2, "softmax")(x), layers.Dense(2, "softmax")(x)]),
        lambda x: layers.Flatten()(ops.softmax(layers.Reshape((2, 1))(layers.Dense(2)(x)), axis=1)),
        lambda x: layers.Dense(1, activation="sigmoid")(x),
    ],
)
def test_what_is_packed_has_several_results_inside_and_any_head_and_is_explained(tmp_path: Path, head) -> None:
    bundle = packed(classifier(two_outputs, head), tmp_path)

    maps, scores = explained_and_predicted(bundle)

    assert maps.maps["mean_abs"].any()
    assert sum(scores) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        '{"b c": 1, "a": 0, "ü": 2}',
        '{\n  "b c": 1,\n  "a": 0,\n  "ü": 2\n}\n',
        '\ufeff\n{"ü": 2, "b c": 1, "a": 0}',
        '["a", "b c", "ü"]',
        "a\nb c\nü\n",
    ],
)
def test_labels_are_read_in_the_order_of_the_outputs(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels").write_text(text, encoding="utf-8")

    assert read_labels(tmp_path / "labels") == ["a", "b c", "ü"]


@pytest.mark.parametrize(
    "indices",
    [
        '"a": 0, "b": 2',
        '"a": 1, "b": 2',
        '"a": 0, "b": 0',
        '"a": "0", "b": "1"',
        '"a": 0.0, "b": 1.0',
        '"a": false, "b": true',
        '"a": null, "b": 1',
        '"a": -1, "b": 0',
        '"0": "a", "1": "b"',
        '"a": [0], "b": [1]',
        '"a": {"b": 0}',
        '"a": 0, "a": 0',
    ],
)
@pytest.mark.parametrize("pattern", ["{{{}}}", "{{\n  {}\n}}\n"])
def test_indices_that_do_not_number_the_classes_are_refused(tmp_path: Path, indices: str, pattern: str) -> None:
    (tmp_path / "labels").write_text(pattern.format(indices.replace(", ", ",\n")))

    with pytest.raises(InvalidBundle, match=r"labels do not number their classes 0, 1, 2, \.\.\.; write"):
        read_labels(tmp_path / "labels")


@pytest.mark.parametrize("text", ['{"a": 0', '{\n"a": 0,\n}', "{a: 0}", '[["a"], ["b"]]', '[{"a": 0}]', "[null]"])
def test_json_that_is_neither_is_refused_and_never_read_line_by_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels").write_text(text)

    with pytest.raises(InvalidBundle, match=r"the labels .* (cannot be read|something else than names)"):
        read_labels(tmp_path / "labels")


def test_a_name_that_comes_twice_is_refused_when_the_bundle_is_packed(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text(json.dumps({"a": 0}).replace("}", ', "a": 1}'))

    with pytest.raises(InvalidBundle, match="distinct label"):
        packed(classifier(), tmp_path, read_labels(tmp_path / "labels"))
