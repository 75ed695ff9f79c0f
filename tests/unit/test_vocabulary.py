"""The shared words refuse what they do not mean, and texts from outside are made harmless."""

import pytest
from pydantic import ValidationError

from heatdrop.text import printable
from heatdrop.vocabulary import ExplanationSettings, Prediction, Result, State


def test_explained_rejected_and_failed_are_final() -> None:
    assert {state for state in State if state.final} == {State.EXPLAINED, State.REJECTED, State.FAILED}


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan")])
def test_a_score_is_a_probability(score: float) -> None:
    with pytest.raises(ValidationError):
        Prediction(label="a", score=score)


def test_the_tutorials_settings_are_the_defaults() -> None:
    tutorials = {"top": 3, "samples": 20, "noise_level": 0.2, "estimator": "mean_abs"}
    expected = {"method": "smoothgrad", **tutorials, "seed": 0, "jitter": ExplanationSettings().jitter, "dicom": False}
    assert ExplanationSettings().model_dump() == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"top": 0},
        {"samples": -1},
        {"noise_level": 0},
        {"noise_level": float("nan")},
        {"estimator": "mean"},
        {"seed": 2**53},
        {"sample": 5},
    ],
)
def test_settings_out_of_range_or_misspelt_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExplanationSettings.model_validate(wrong)


def test_a_result_survives_json() -> None:
    result = Result(file="a", image_id="0", state=State.EXPLAINED, predictions=(Prediction(label="x", score=0.1),))
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_words_cannot_be_changed() -> None:
    prediction = Prediction(label="x", score=0.5)
    with pytest.raises(ValidationError):
        prediction.score = 1.0


def test_printable_replaces_what_a_terminal_would_obey_and_nothing_else() -> None:
    assert printable("\x1b[2J a\nb\x00\x9b\u202e\ud800") == "�[2J a�b����"
    assert printable("Thorax, 2 Ebenen: µ 肺炎 [red]") == "Thorax, 2 Ebenen: µ 肺炎 [red]"
