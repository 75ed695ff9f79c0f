"""Costs and bottlenecks follow from times, prices and limits."""

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from heatdrop.cli.app import app
from heatdrop.cost import prices
from heatdrop.cost.costs import POLLERS, Setup, Timings, idle_month, measured_timings, per_thousand, write_units
from heatdrop.cost.flow import DAY, Capacity, batch_size, load, simulate
from heatdrop.errors import InvalidRequest

TIMINGS = Timings(infer=0.1, explain=1.0, origin="made up")
SETUP = Setup()
LIMITS = Capacity()


def record(state: str = "EXPLAINED", **timings: float) -> dict[str, object]:
    return {"state": state, "timings_ms": timings, "heatmaps": []}


def test_times_are_the_medians_of_the_explained_images() -> None:
    steps = {"fetch": 10.0, "decode": 20.0, "render": 100.0, "store": 0.0}
    records = [record(predict=p, explain=e, **steps) for p, e in ((70.0, 900.0), (30.0, 400.0), (170.0, 2900.0))]
    timings = measured_timings([*records, record("REJECTED")], "run")
    assert timings.infer == pytest.approx(0.1)
    assert timings.explain == pytest.approx(1.0)


def test_run_without_an_explained_image_has_no_times() -> None:
    with pytest.raises(InvalidRequest, match="no explained image"):
        measured_timings([record("REJECTED")], "run")


def test_batch_is_billed_by_the_second_with_each_images_share_of_the_start() -> None:
    costs = per_thousand(TIMINGS, Setup(images_per_job=50, job_start=50), "g4dn.xlarge")
    assert costs["Batch (g4dn.xlarge)"] == pytest.approx(1000 * 2.0 * 0.526 / 3600)


def test_spot_takes_its_discount_off_compute_alone() -> None:
    full, spot = (per_thousand(TIMINGS, Setup(spot_discount=d), "g5.xlarge") for d in (0.0, 0.6))
    assert spot.pop("Batch (g5.xlarge)") == pytest.approx(0.4 * full.pop("Batch (g5.xlarge)"))
    assert spot == full


def test_lambda_is_billed_by_memory_and_time() -> None:
    costs = per_thousand(TIMINGS, Setup(lambda_gb=2, images_per_job=50), "fargate")
    assert costs["Lambda"] == pytest.approx(1000 * (0.2 * prices.LAMBDA_GB_SECOND + prices.LAMBDA_REQUEST / 50))


def test_fargate_costs_its_vcpus_and_memory() -> None:
    assert prices.compute_hour(prices.FARGATE) == pytest.approx(4 * 0.04048 + 16 * 0.004445)


LIMIT_NAMES = [
    *("Lambda concurrency", "SubmitJob", "SQS in flight", "DynamoDB shards", "DynamoDB table"),
    *("heatmap jobs", "SNS publishes", "S3 puts", "GPU quota"),
]


@pytest.mark.parametrize("limit", LIMIT_NAMES)
def test_load_on_every_limit_grows_with_the_drops(limit: str) -> None:
    few, many = (load(rate, TIMINGS, SETUP, Capacity(gpu_vcpus=32))[limit] for rate in (20.0, 200.0))
    assert many > few


def test_storage_is_paid_for_as_long_as_results_are_kept() -> None:
    year, month = (
        per_thousand(TIMINGS, Setup(stored_mb=12, keep_results_days=days), "fargate") for days in (365, 365 / 12)
    )
    assert year["S3 storage, 365 days"] == pytest.approx(12 * month["S3 storage, 30 days"])
    assert year["S3 storage, 365 days"] > sum(year.values()) / 2


def test_record_of_a_thousand_classes_costs_as_its_size_does() -> None:
    few, many = (per_thousand(TIMINGS, Setup(classes=classes), "fargate")["DynamoDB"] for classes in (3, 1000))
    assert many / few == pytest.approx(write_units(1000, 3) / write_units(3, 3), rel=0.01)
    assert many > 7 * few


def test_every_poller_gathers_its_own_share_of_the_drops() -> None:
    assert batch_size(10.0, SETUP) == 10.0 * 5 / POLLERS
    assert batch_size(0.01, SETUP) == 1
    assert batch_size(10_000.0, SETUP) == SETUP.images_per_job


def test_eight_shards_take_a_thousand_images_a_second_and_more_take_more() -> None:
    assert load(1000, TIMINGS, Setup(shards=8), LIMITS)["DynamoDB shards"] == pytest.approx(1.0)
    assert load(1000, TIMINGS, Setup(shards=16), LIMITS)["DynamoDB shards"] == pytest.approx(0.5)


@pytest.mark.parametrize(("vcpus", "share"), [(32, 1.0), (16, 0.5), (4, 0.125)])
def test_gpu_quota_bounds_the_jobs(vcpus: float, share: float) -> None:
    full, quota = (load(1, TIMINGS, SETUP, Capacity(gpu_vcpus=vcpus))[name] for name in ("heatmap jobs", "GPU quota"))
    assert full / quota == pytest.approx(share)


def test_without_a_gpu_quota_nothing_is_explained() -> None:
    day = simulate(1000, TIMINGS, SETUP, Capacity(gpu_vcpus=0))
    assert day.bottleneck == "GPU quota"
    assert day.waiting_for_heatmap[-1] == pytest.approx(1000)


def test_queues_are_polled_without_any_image() -> None:
    """Five polls of 20 s each, at each of three queues."""
    assert idle_month() == pytest.approx(3 * 5 * 365 / 12 * 24 * 180 * prices.SQS_REQUEST)


def test_few_drops_leave_nothing_waiting() -> None:
    day = simulate(1000, TIMINGS, SETUP, LIMITS)
    assert max(day.utilisation.values()) < 0.1
    assert day.waiting_for_inference.max() == day.waiting_for_heatmap.max() == 0


def test_heatmap_jobs_are_full_first_and_what_waits_is_what_they_do_not_take() -> None:
    day = simulate(1e6, TIMINGS, SETUP, LIMITS)
    assert day.bottleneck == "heatmap jobs"
    taken = DAY * LIMITS.jobs / (TIMINGS.explain + SETUP.job_start / SETUP.images_per_job)
    assert day.waiting_for_heatmap[-1] == pytest.approx(1e6 - taken, rel=1e-3)


def test_no_image_is_lost_on_the_way() -> None:
    day = simulate(1e8, TIMINGS, SETUP, LIMITS)
    done = DAY * LIMITS.jobs / (TIMINGS.explain + SETUP.job_start / SETUP.images_per_job)
    assert day.waiting_for_inference[-1] + day.waiting_for_heatmap[-1] + done == pytest.approx(1e8, rel=1e-3)


def test_jobs_stay_below_fifty_a_second_because_drops_share_them() -> None:
    alone = load(1157, TIMINGS, Setup(images_per_job=1), LIMITS)["SubmitJob"]
    shared = load(1157, TIMINGS, Setup(images_per_job=50), LIMITS)["SubmitJob"]
    assert alone > 1 > shared


@pytest.fixture
def results(tmp_path: Path) -> Path:
    times = {"fetch": 5.0, "decode": 50.0, "predict": 45.0, "explain": 800.0, "render": 150.0, "store": 50.0}
    path = tmp_path / "results.jsonl"
    (tmp_path / "one.png").write_bytes(bytes(3_000_000))
    line = record(**times) | {
        "picture": "one.png",
        "heatmaps": [{"label": "a", "overlay": "one.png", "figure": "one.png", "maps": "one.png", "dicom": None}],
    }
    path.write_text(json.dumps(line) + "\n")
    return path


def test_command_says_what_is_measured_and_what_is_a_list_price(results: Path, tmp_path: Path) -> None:
    picture = tmp_path / "flow.png"
    done = CliRunner().invoke(app, ["cost", str(results), "--images", "1e6", "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    measured, listed = "Measured: 0.100 s inference and 12.0 MB", "List prices: us-east-1"
    for words in (measured, listed, "First to be full: heatmap jobs", "Batch (fargate)"):
        assert words in done.output
    assert cv2.imread(str(picture)).std() > 1


def test_command_gives_its_figures_to_programs(results: Path) -> None:
    done = CliRunner().invoke(app, ["cost", str(results), "--images", "1e6", "--json"])
    answer = json.loads(done.stdout)
    thousand = per_thousand(Timings(infer=0.1, explain=1.0, origin=""), Setup(stored_mb=12.0), prices.FARGATE)
    assert answer["dollars_per_thousand_images"] == pytest.approx(thousand)
    assert answer["bottleneck"] == "heatmap jobs"
    assert answer["left_at_end_of_day"] > 0


@pytest.mark.parametrize("options", [["--per", "year"], ["--compute", "p5"], ["--compute", "g4dn.xlarge"]])
def test_command_refuses_what_it_does_not_know(results: Path, options: list[str]) -> None:
    done = CliRunner().invoke(app, ["cost", str(results), *options])
    assert isinstance(done.exception, InvalidRequest)


def test_command_refuses_a_file_that_is_no_result(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cost", str(tmp_path / "nothing.jsonl")])
    assert isinstance(done.exception, InvalidRequest)
