"""Files are classified and explained in this process; each gets one answer, whatever it holds."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from heatdrop import images
from heatdrop.explaining.explainer import Explainer
from heatdrop.explaining.files import classify_files, explain_files
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.images import Limits
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier
from heatdrop.vocabulary import ExplanationSettings, Result, State


def classified(paths: list[Path], bundle: Bundle, limits: Limits = Limits()) -> list[Result]:
    return list(classify_files(paths, bundle, limits))


def test_an_image_is_classified_as_its_model_predicts(small_bundle: Bundle, chest_jpeg: Path) -> None:
    (result,) = classified([chest_jpeg], small_bundle)
    expected = Classifier(small_bundle).classify(images.decode(chest_jpeg.read_bytes(), at_least=(64, 64)))
    assert result.state is State.CLASSIFIED
    assert result.predictions == expected
    assert (result.file, result.reason, result.heatmaps) == (str(chest_jpeg), None, ())
    assert result.model == small_bundle.model
    assert set(result.timings_ms) == {"decode", "predict"}


def test_what_is_no_image_is_rejected_with_a_reason_and_costs_the_others_nothing(
    small_bundle: Bundle, chest_jpeg: Path, tmp_path: Path
) -> None:
    empty, text, gone = tmp_path / "empty.jpg", tmp_path / "text.png", tmp_path / "gone.jpg"
    empty.write_bytes(b"")
    text.write_text("not an image")
    results = classified([empty, chest_jpeg, text, gone, chest_jpeg], small_bundle)
    states = [State.REJECTED, State.CLASSIFIED, State.REJECTED, State.REJECTED, State.CLASSIFIED]
    assert [result.state for result in results] == states
    for result in results:
        assert (result.reason is None) == (result.state is State.CLASSIFIED)
        assert bool(result.predictions) == (result.state is State.CLASSIFIED)
    assert "empty" in results[0].reason
    assert "No such file" in results[3].reason
    assert len({result.image_id for result in results}) == 4


def test_a_file_beyond_the_limit_is_rejected_by_its_size(small_bundle: Bundle, chest_jpeg: Path) -> None:
    limit = chest_jpeg.stat().st_size
    assert classified([chest_jpeg], small_bundle, Limits(max_bytes=limit))[0].state is State.CLASSIFIED
    (result,) = classified([chest_jpeg], small_bundle, Limits(max_bytes=limit - 1))
    assert result.state is State.REJECTED
    assert "MB" in result.reason


def test_the_same_bytes_under_two_names_are_two_images(small_bundle: Bundle, chest_jpeg: Path, tmp_path: Path) -> None:
    twins = [Path(shutil.copy(chest_jpeg, tmp_path / name)) for name in ("a.jpg", "b.jpg")]
    first, second = classified(twins, small_bundle)
    assert first.image_id != second.image_id
    assert first.predictions == second.predictions
    assert [r.image_id for r in classified(twins, small_bundle)] == [first.image_id, second.image_id]


def test_other_bytes_under_the_same_name_are_another_image(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    ids = set()
    for value in (10, 20):
        cv2.imwrite(str(path), np.full((70, 70, 3), value, np.uint8))
        ids.add(classified([path], small_bundle)[0].image_id)
    assert len(ids) == 2


def test_answers_come_one_by_one(small_bundle: Bundle, chest_jpeg: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.jpg"
    answers = classify_files([chest_jpeg, late], small_bundle, Limits())
    assert next(answers).state is State.CLASSIFIED
    shutil.copy(chest_jpeg, late)
    assert next(answers).state is State.CLASSIFIED


def test_explaining_writes_the_heatmaps_of_every_image_that_is_one(
    tiny_bundle: Bundle, chest_jpeg: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(chest_jpeg.read_bytes()[:2000])
    output = OutputFolder(tmp_path / "out")
    explainer = Explainer(tiny_bundle, ExplanationSettings(top=2, samples=2))
    explained, rejected = explain_files([chest_jpeg, broken], explainer, output, Limits())
    assert (explained.state, rejected.state) == (State.EXPLAINED, State.REJECTED)
    assert rejected.heatmaps == ()
    assert [h.label for h in explained.heatmaps] == [p.label for p in explained.predictions[:2]]
    assert set(explained.timings_ms) == {"decode", "predict", "explain", "render"}
    named = {path for h in explained.heatmaps for path in (h.overlay, h.figure, h.maps)} | {explained.picture}
    written = {path.relative_to(output.root).as_posix() for path in output.root.rglob("*") if path.is_file()}
    assert named == written
    assert len(named) == 7
