"""A model kept as 8-bit weights comes back as it was rounded, and its bundle is built once."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.model import architectures, default, packing, source
from heatdrop.model.bundle import open_bundle

LABELS = ["NORMAL", "PNEUMONIA"]
CARD = {"name": "tiny", "architecture": "densenet121", "image_size": 32, "standardise": True, "labels": LABELS}


pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture
def rounded_model(tiny_backbone: None) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = architectures.build("densenet121", 2, weights=None, size=32)
    # Untrained, every vector is zeros or ones, and would not show whether it is kept.
    noise = np.random.default_rng(3)
    model.set_weights([w + noise.uniform(0, 0.2, w.shape).astype(np.float32) for w in model.get_weights()])
    source.round_weights(model)
    return model


@pytest.fixture
def source_folder(rounded_model: keras.Model, tmp_path: Path) -> Path:
    folder = tmp_path / "source" / "tiny"
    source.save_source(rounded_model, CARD | {"training": {"epochs": 3}}, folder)
    return folder


def test_rounding_moves_no_weight_by_more_than_half_a_step() -> None:
    values = np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32) * np.logspace(-6, 3, 16)
    whole, scale = source.rounded(values.astype(np.float32))
    assert whole.dtype == np.int8
    assert (np.abs(whole * scale - values) <= scale * 0.5001).all()
    assert (np.abs(whole).max((0, 1, 2)) == 127).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    whole, scale = source.rounded(np.zeros((1, 1, 4, 2), np.float32))
    assert not (whole * scale).any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-20, 20))
def test_rounding_what_is_rounded_changes_nothing(seed: int, magnitude: float) -> None:
    values = (np.random.default_rng(seed).normal(size=(9, 64)) * np.exp2(magnitude)).astype(np.float32)
    once = np.multiply(*source.rounded(values), dtype=np.float32)
    assert np.array_equal(np.multiply(*source.rounded(once), dtype=np.float32), once)


def test_the_model_comes_back_exactly_as_it_was_rounded(rounded_model: keras.Model, source_folder: Path) -> None:
    loaded, card = source.load_source(source_folder)
    for before, after in zip(rounded_model.get_weights(), loaded.get_weights(), strict=True):
        assert np.array_equal(before, after)
    assert card["labels"] == LABELS
    inputs = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    assert np.array_equal(loaded(inputs, training=False), rounded_model(inputs, training=False))


def test_kernels_are_kept_in_8_bits_and_nothing_that_runs_is_kept(
    rounded_model: keras.Model, source_folder: Path
) -> None:
    with np.load(source_folder / "weights.npz", allow_pickle=False) as arrays:
        kept = [arrays[name] for name in arrays.files]
    assert {array.dtype for array in kept} == {np.dtype(np.int8), np.dtype(np.float32)}
    kernels = sum(weights.size for weights in rounded_model.get_weights() if weights.ndim > 1)
    assert sum(array.size for array in kept if array.dtype == np.int8) == kernels


def test_the_bundle_of_the_source_is_that_of_the_rounded_model(
    rounded_model: keras.Model, source_folder: Path, tmp_path: Path
) -> None:
    built = source.build_bundle(source_folder, tmp_path / "built", "digest")
    packed = packing.pack(rounded_model, tmp_path / "packed", name="tiny", labels=LABELS, preprocess_as="densenet")
    assert built.model == packed.model
    assert built.description.training == {"epochs": 3}
    assert built.description.source_digest == "digest"


def test_the_bundle_that_comes_along_is_built_once_and_again_when_its_source_changed(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default, "MODEL_SOURCE", source_folder)
    monkeypatch.setattr(default, "BUILT_BUNDLE", tmp_path / "build" / "bundles" / "tiny")
    assert default.open_default() is None
    built = default.build_default()
    assert default.open_default() == built == open_bundle(default.BUILT_BUNDLE)
    card = json.loads((source_folder / "model.json").read_text())
    (source_folder / "model.json").write_text(json.dumps(card | {"name": "renamed"}))
    assert default.open_default() is None


def test_an_installation_without_the_models_source_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "MODEL_SOURCE", tmp_path / "nowhere")
    monkeypatch.setattr(default, "BUILT_BUNDLE", tmp_path / "neither")
    assert default.open_default() is None
    with pytest.raises(InvalidBundle, match="--bundle"):
        default.build_default()


def test_standardising_makes_scores_blind_to_exposure_and_contrast() -> None:
    model = architectures.build("densenet121", 2, weights=None, size=32)
    inputs = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    same = model(inputs * 0.5 + 0.3, training=False).numpy()
    np.testing.assert_allclose(same, model(inputs, training=False), atol=1e-4)


def test_an_unknown_architecture_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="'vgg16'; choose one of densenet121, densenet169, densenet201"):
        architectures.build("vgg16", 2, weights=None)
