"""A certificate speaks of one kind of map, in grades that follow from figures; earlier ones are read without a lie."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from heatdrop.aws.record import KnownModel
from heatdrop.explaining.methods import method_provenance
from heatdrop.model.bundle import Bundle, BundleDescription, open_bundle, with_certificates
from heatdrop.model.certificate import (
    METHOD_TITLES,
    Certificate,
    Check,
    MapKind,
    find_certificate,
    merged,
    trust_in,
)
from heatdrop.saliency import SaliencyMaps
from heatdrop.vocabulary import ExplanationSettings, Method

DEFAULT = ExplanationSettings()
UNLIKE_THE_DEFAULT: list[dict[str, Any]] = [
    {"method": "gradcam"},
    {"estimator": "signed"},
    {"samples": 50},
    {"samples": 0},
    {"noise_level": 0.1},
    {"jitter": 4},
]


def around(mean: float) -> tuple[float, float, float]:
    return mean, mean - 0.02, mean + 0.02


def randomisation(head: float, half: float, whole: float, unrelated: float = 0.4) -> Check:
    figures = {f"{measure}_of_two_images": around(unrelated) for measure in ("rank_correlation", "ssim")}
    for measure in ("rank_correlation", "ssim"):
        for count, value in ((1, head), (5, half), (10, whole)):
            figures[f"{measure}_with_{count}_of_10_layers_shuffled"] = around(value)
    return Check.of("parameter randomisation", figures)


def perturbation(**gains: float) -> Check:
    ways = ("insertion", "deletion")
    figures = {f"{way}_gain_over_{rival}": around(gain) for rival, gain in gains.items() for way in ways}
    return Check.of("insertion and deletion", figures)


BETTER_THAN_ALL = perturbation(random=0.1, centre=0.1, edges=0.1)
CHANGING = randomisation(0.3, 0.2, 0.1)


def certificate(settings: ExplanationSettings = DEFAULT, *checks: Check, day: str = "2026-11-27") -> Certificate:
    return Certificate.of(MapKind.of(settings), checks or (BETTER_THAN_ALL, CHANGING), measured_on=day, images=40)


# ------------------------------------------------------------------------------------------------------ kinds of map


@pytest.mark.parametrize("other", UNLIKE_THE_DEFAULT, ids=str)
def test_certificate_says_nothing_of_maps_that_were_made_otherwise(other: dict[str, Any]) -> None:
    known = [certificate()]
    assert trust_in(known, MapKind.of(DEFAULT)) == known[0].summary
    assert trust_in(known, MapKind.of(DEFAULT.model_copy(update=other))) == "not measured for this kind of map"
    assert trust_in(known, MapKind.of(DEFAULT, score="probability")) == "not measured for this kind of map"
    assert trust_in([], MapKind.of(DEFAULT)) == "not measured"


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_has_a_title_units_and_a_sentence(method: Method) -> None:
    settings = ExplanationSettings(method=method)
    found = certificate(settings)
    title = METHOD_TITLES[method]
    assert found.kind.title.startswith(title)
    assert f"These {title}" in found.sentence
    (empty, none) = np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 1), np.float32)
    maps = SaliencyMaps({}, {}, {}, none.astype(np.int64), none, none[0].astype(np.int64), none[0] == 0)
    provenance = method_provenance(settings, replace(maps, maps={settings.drawn: empty}))
    assert provenance["method"] == method
    assert provenance["units"]


@pytest.mark.parametrize("same", [{"seed": 7}, {"top": 1}, {"dicom": True}], ids=str)
def test_what_does_not_change_a_map_is_no_part_of_its_kind(same: dict[str, Any]) -> None:
    assert MapKind.of(DEFAULT.model_copy(update=same)) == MapKind.of(DEFAULT)


@pytest.mark.parametrize("other", [{"samples": 9}, {"estimator": "signed"}, {"noise_level": 0.5}], ids=str)
def test_what_a_method_does_not_look_at_is_no_part_of_its_kind(other: dict[str, Any]) -> None:
    plain = ExplanationSettings(method="gradcam")
    assert MapKind.of(plain.model_copy(update=other)) == MapKind.of(plain)


def test_measuring_a_kind_again_replaces_its_certificate_and_no_other(bundle_copy: Path) -> None:
    signed = ExplanationSettings(estimator="signed")
    first = with_certificates(open_bundle(bundle_copy), [certificate(day="2026-11-01"), certificate(signed)])
    again = certificate(day="2026-11-02")
    with_certificates(first, [again])
    kept = open_bundle(bundle_copy)
    assert kept.description.certificates == (again, certificate(signed))
    assert find_certificate(kept.description.certificates, MapKind.of(DEFAULT)) == again
    assert kept.trust_in(MapKind.of(signed)) == certificate(signed).summary


# ------------------------------------------------------------------------------------------------------------- grades


@pytest.mark.parametrize(
    ("checks", "grade", "words"),
    [
        ((BETTER_THAN_ALL, CHANGING), "passed", "better than random maps, the centre of the picture and the edges"),
        ((perturbation(random=0.1, centre=0.1, edges=-0.1), CHANGING), "limited", "but no better than the edges"),
        ((perturbation(random=0.1, centre=0.01, edges=0.1), CHANGING), "limited", "no better than the centre"),
        ((perturbation(random=0.0, centre=0.1, edges=0.1), CHANGING), "failed", "but no better than random maps"),
        ((BETTER_THAN_ALL, randomisation(0.7, 0.5, 0.1)), "limited", "change only in part (rank correlation 0.50)"),
        ((BETTER_THAN_ALL, randomisation(0.7, 0.39, 0.1)), "limited", "change only in part (rank correlation 0.39)"),
        (
            (BETTER_THAN_ALL, randomisation(0.9, 0.8, 0.7)),
            "failed",
            "stay more alike (rank correlation 0.70) than maps of two images",
        ),
    ],
)
def test_grade_and_sentence_follow_from_the_figures(checks: tuple[Check, ...], grade: str, words: str) -> None:
    found = certificate(DEFAULT, *checks)
    assert found.grade == grade
    assert words in found.sentence
    assert found.summary == f"{grade} (2026-11-27, 40 images). {found.sentence}"


def test_model_that_guesses_has_maps_that_explain_nothing() -> None:
    skill = Check.of("skill", {"auc_macro": (0.5, 0.4, 0.6)})
    found = certificate(DEFAULT, skill, BETTER_THAN_ALL, CHANGING)
    assert found.grade == "failed"
    assert "nothing that a map could explain" in found.sentence


# --------------------------------------------------------------------------------- what earlier versions have written


def earlier(settings: ExplanationSettings = DEFAULT, edges: float = -0.08, half: float = 0.69) -> dict[str, Any]:
    """A certificate as it was written when there was one a bundle, which passed if random maps were beaten."""
    gains = perturbation(random=0.03, centre=0.05, edges=edges).figures
    changes = randomisation(0.73, half, 0.35, unrelated=0.44).figures
    checks = [
        {"name": "parameter randomisation", "passed": True, "statement": "They depend on it.", "figures": changes},
        {
            "name": "insertion and deletion",
            "passed": True,
            "statement": "Better than random.",
            "figures": gains | {"insertion_smoothgrad": around(0.58)},
        },
    ]
    return json.loads(
        json.dumps(
            {
                "measured_on": "2026-11-24",
                "images": 100,
                "settings": settings.model_dump(),
                "checks": checks,
                "alarms": ["Look at the corner."],
            }
        )
    )


def test_certificate_of_an_earlier_version_is_of_the_kind_in_its_settings_and_is_judged_by_todays_rules() -> None:
    found = Certificate.model_validate(earlier())
    assert found.kind == MapKind.of(DEFAULT)
    assert (found.images, found.measured_on, found.alarms) == (100, "2026-11-24", ("Look at the corner.",))
    assert found.grade == "limited"
    assert "no better than the edges" in found.sentence
    assert "insertion_map" in found.checks[1].figures
    assert Certificate.model_validate(earlier(edges=0.1, half=0.2)).grade == "passed"
    assert Certificate.model_validate_json(found.model_dump_json()) == found


def test_check_of_an_earlier_version_that_cannot_be_judged_anew_does_not_pass() -> None:
    bare = {"name": "something", "passed": True, "statement": "It is well."}
    assert Check.model_validate(bare).grade == "limited"
    assert Check.model_validate(bare | {"passed": False}).grade == "failed"


def test_bundle_and_record_of_an_earlier_version_keep_their_certificate(bundle_copy: Path) -> None:
    path = bundle_copy / "bundle.json"
    content = json.loads(path.read_text())
    del content["certificates"]
    for single, expected in ((None, ()), (earlier(), (Certificate.model_validate(earlier()),))):
        path.write_text(json.dumps(content | {"certificate": single}))
        assert open_bundle(bundle_copy).description.certificates == expected
        item = {"name": "m", "version": "1", "labels": ["a"], "first_used_at": "2026-11-24T00:00:00Z"}
        assert KnownModel.model_validate(item | {"certificate": single}).certificates == expected


def test_description_keeps_several_certificates_through_json(small_bundle: Bundle) -> None:
    several = merged([certificate()], [certificate(ExplanationSettings(method="layercam"))])
    description = small_bundle.description.model_copy(update={"certificates": several})
    assert BundleDescription.model_validate_json(description.model_dump_json()) == description
