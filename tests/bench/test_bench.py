"""The measurement itself: its arithmetic, its report, and one contender in a process of its own."""

import json

import numpy as np
import pytest

from heatdrop.bench import limits, report
from heatdrop.bench.contenders import HEATDROP, chosen_peers
from heatdrop.bench.measurements import cosine, fewer_gradients, relative_l2
from heatdrop.bench.process import Process
from heatdrop.bench.subjects import SMALL, fixed_model, prepare
from heatdrop.errors import InvalidRequest
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine


@pytest.mark.parametrize("contender", [HEATDROP, *chosen_peers("heatdrop-litert")], ids=lambda each: each.name)
def test_a_contender_in_its_own_process_gives_the_maps_of_this_one(tmp_path, contender):
    subject = prepare(SMALL, 64, None, 1, tmp_path)
    noise = np.random.default_rng(1).standard_normal((4, 64, 64, 3)).astype(np.float32)

    with Process(contender, subject.folder, print) as process:
        answer = process.explain(subject.images[0], [0, 2], 4, noise)

    wanted = smoothgrad(fixed_model(SMALL), subject.images, [[0, 2]], samples=4, noise=noise[:, None])
    assert relative_l2(answer.maps, wanted.maps["mean_abs"][0]) < 1e-5
    assert answer.seconds > 0
    assert answer.peak_mb > 100


def test_the_operations_of_the_small_densenet_are_counted_forward_and_for_each_class():
    engine = TensorFlowEngine(fixed_model(SMALL))

    one, two = (limits.counted_gflop(engine, (64, 64, 3), 20, classes) for classes in (1, 2))

    assert 1.4 < two / one < 1.6, "three passes instead of two"


def test_the_worst_map_decides_the_agreement():
    wanted = np.ones((2, 4, 4), np.float32)
    found = wanted.copy()
    found[1, :2] = 0

    assert relative_l2(found, wanted) == pytest.approx(np.sqrt(0.5))
    assert cosine(found, wanted) == pytest.approx(np.sqrt(0.5))


def test_an_error_lower_by_a_tenth_saves_a_fifth_of_the_samples():
    figures = {"independent": {20: {"true": 0.2}}, "stratified": {20: {"true": 0.18}}}

    assert fewer_gradients(figures, [20]) == pytest.approx(0.19)


def test_a_report_holds_every_figure_and_a_picture(tmp_path):
    errors = {
        s: {5: {"true": 0.3, "told": 0.3}, 20: {"true": 0.15, "told": 0.15}} for s in ("stratified", "independent")
    }
    figures = {
        "subject": "small",
        "machine": report.machine(),
        "contenders": {"heatdrop": {"median_seconds": 1.0}, "captum": {"unavailable": "no torch"}},
        "errors": {"mean_abs": errors, "signed": errors},
        "scaling": {name: {1: 1.0, 2: 2.0} for name in ("samples", "classes", "images")},
    }

    written = report.write(figures, tmp_path)

    assert [path.name for path in written] == ["smoothgrad.json", "smoothgrad.png"]
    assert json.loads(written[0].read_text())["contenders"]["heatdrop"]["median_seconds"] == 1.0
    assert written[1].read_bytes().startswith(b"\x89PNG")


def test_peers_are_chosen_by_name():
    assert [peer.name for peer in chosen_peers("captum,xplique")] == ["captum", "xplique"]
    assert chosen_peers("none") == ()
    with pytest.raises(InvalidRequest, match="peers holds 'lime'"):
        chosen_peers("lime")
