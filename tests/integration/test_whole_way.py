"""`heatdrop run`, as a person calls it: every part real, every file answered."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.integration.served import RECORDED_CLI

from heatdrop import cli
from heatdrop.model.bundle import Bundle

pytestmark = pytest.mark.slow

BROKEN = {
    "broken/empty.jpg": b"",
    "broken/text.png": b"this is not an image",
    "broken/cut.jpg": None,  # filled in from the radiograph
}


@dataclass
class Run:
    """What a finished `heatdrop run` left."""

    done: subprocess.CompletedProcess[str]
    out: Path
    results: dict[str, dict[str, Any]]
    """By the end of the file's path."""


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    return subprocess.run(
        [sys.executable, RECORDED_CLI, *arguments], capture_output=True, text=True, cwd=cwd, env=environment
    )


@pytest.fixture(scope="module")
def run(small_bundle: Bundle, chest: bytes, chest_dicom: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A folder of sound and broken files, sent the whole way once."""
    here = tmp_path_factory.mktemp("run")
    files = {
        "drops/chest.jpg": chest,
        "drops/same bytes + another name.jpg": chest,
        "drops/größe 100%/胸部.dcm": chest_dicom.read_bytes(),
        "drops/wrong suffix.png": chest,
        **{f"drops/{name}": chest[:3000] if data is None else data for name, data in BROKEN.items()},
    }
    for name, data in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    done = call(
        "run", "drops", "--bundle", str(small_bundle.folder), "--samples", "2", "--top", "2", "--json", cwd=here
    )
    answers = [json.loads(line) for line in (here / "out/results.jsonl").read_text().splitlines()]
    assert len(answers) == len(files), done.stderr
    return Run(done, here / "out", {answer["file"].removeprefix("drops/"): answer for answer in answers})


def test_every_file_has_a_final_answer_and_the_exit_code_is_0(run: Run) -> None:
    assert run.done.returncode == 0, run.done.stderr
    assert {answer["state"] for answer in run.results.values()} == {"EXPLAINED", "REJECTED"}
    for name, answer in run.results.items():
        assert answer["state"] == ("REJECTED" if name in BROKEN else "EXPLAINED")


def test_answers_keep_the_contract(run: Run, small_bundle: Bundle) -> None:
    names = ["file", "image_id", "state", "reason", "predictions", "unusual", "picture", "heatmaps", "trust", "model"]
    names.append("timings_ms")
    for answer in run.results.values():
        assert list(answer) == names
        if answer["state"] == "REJECTED":
            assert len(answer["reason"].split()) > 3
            assert (answer["predictions"], answer["heatmaps"], answer["model"]) == ([], [], None)
        else:
            assert answer["reason"] is None
            assert answer["model"] == small_bundle.model.model_dump()
            scores = [prediction["score"] for prediction in answer["predictions"]]
            assert scores == sorted(scores, reverse=True)
            assert [h["label"] for h in answer["heatmaps"]] == [p["label"] for p in answer["predictions"][:2]]


def test_printed_json_lines_are_those_of_the_results_file(run: Run) -> None:
    assert run.done.stdout == (run.out / "results.jsonl").read_text()


def test_heatmaps_are_where_the_answer_says_and_can_be_opened(run: Run) -> None:
    for answer in run.results.values():
        for heatmap in answer["heatmaps"]:
            for name in ("overlay", "figure"):
                picture = cv2.imread(str(run.out / heatmap[name]))
                assert picture is not None
                assert picture.std() > 1
            with np.load(run.out / heatmap["maps"]) as arrays:
                assert arrays["mean_abs"].max() > 0
                assert json.loads(str(arrays["provenance"]))["samples"] == 2


def test_equal_bytes_under_two_names_are_two_images_with_equal_maps(run: Run) -> None:
    first, second = run.results["chest.jpg"], run.results["same bytes + another name.jpg"]
    assert first["image_id"] != second["image_id"]
    assert first["predictions"] == second["predictions"]
    for one, other in zip(first["heatmaps"], second["heatmaps"], strict=True):
        assert one["maps"] != other["maps"]
        assert (run.out / one["maps"]).read_bytes() == (run.out / other["maps"]).read_bytes()


def test_no_traceback_and_no_native_chatter_reach_the_person(run: Run) -> None:
    assert "Traceback" not in run.done.stderr
    assert "TensorFlow" not in run.done.stderr
    assert "explained" in run.done.stderr


CallHere = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def call_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CallHere:
    """Run the command line in this process: its exit code, and what it printed."""

    def call_(*arguments: str, cwd: Path) -> tuple[int | str | None, str, str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["heatdrop", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return call_


def test_explain_without_a_cloud_makes_the_same_maps(run: Run, small_bundle: Bundle, call_here: CallHere) -> None:
    here = run.out.parent
    options = ("--bundle", str(small_bundle.folder), "--samples", "2", "--top", "2", "--out", "direct")
    code, out, err = call_here("explain", "drops/chest.jpg", *options, "--json", cwd=here)
    assert not code, err
    answer, sent = json.loads(out), run.results["chest.jpg"]
    assert answer["state"] == "EXPLAINED"
    assert answer["predictions"] == sent["predictions"]
    for direct, cloud in zip(answer["heatmaps"], sent["heatmaps"], strict=True):
        assert (here / "direct" / direct["maps"]).read_bytes() == (run.out / cloud["maps"]).read_bytes()


def test_image_that_fails_gives_exit_code_1_and_says_why(
    small_bundle: Bundle, chest: bytes, tmp_path: Path, bundle_copy: Path
) -> None:
    """A bundle whose Keras model was changed after packing still predicts, but cannot explain."""
    (tmp_path / "chest.jpg").write_bytes(chest)
    (bundle_copy / "model.keras").write_bytes(b"changed")
    done = call("run", "chest.jpg", "--bundle", str(bundle_copy), "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    assert answer["state"] == "FAILED"
    assert "heatmap job failed" in answer["reason"]


@pytest.mark.parametrize("arguments", [[], ["nowhere.jpg"], ["x.jpg", "--estimator", "best"], ["--samples", "-1"]])
def test_wrong_usage_gives_exit_code_2(arguments: list[str], tmp_path: Path, call_here: CallHere) -> None:
    code, _, err = call_here("run", *arguments, cwd=tmp_path)
    assert code == 2
    assert "Traceback" not in err
    assert err.strip()
