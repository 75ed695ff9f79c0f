"""What is hostile in a key, a label or a file stays where it is: see docs/security.md."""

import io
import json
import logging
from pathlib import Path

import pydicom
import pytest
from rich.console import Console
from tests.integration.cloud import Cloud, Context, throttled

from heatdrop.cli import console
from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop, Prediction, Result, State

HOSTILE = [
    "../../../other/x.png",
    "/etc/passwd",
    "images/0/0/0.png",
    "a\x00b",
    "line\nbreak\r.jpg",
    "\x1b[2J\u202egpj.exe",
]


@pytest.mark.parametrize("key", [key for key in HOSTILE if "\0" not in key])
def test_key_never_becomes_part_of_a_path(cloud: Cloud, chest: bytes, key: str) -> None:
    drop = cloud.put(chest, key)
    cloud.infer(drop)
    manifest_key, _ = cloud.manifest(drop)
    cloud.heatmap_job().run(manifest_key)
    record = cloud.record(drop)
    assert record.drop.key == key
    assert manifest_key == f"manifests/{record.manifest_id}.json"
    prefix = f"images/{image_id(drop)}/{record.model.version}/"
    for heatmap in record.heatmaps:
        for artefact in (heatmap.overlay, heatmap.figure, heatmap.maps):
            assert artefact.startswith(prefix)
            assert "/" not in artefact.removeprefix(prefix)
            assert artefact.isascii()


def test_parts_of_a_drop_cannot_be_shifted_into_each_other() -> None:
    parts = [
        *(("a", "b/c", "1"), ("a/b", "c", "1"), ("a", "b/c1", ""), ("ab", "/c", "1")),
        *(('a","b', "c", "1"), ("a", 'b","c', "1"), ("a", "b", 'c","1'), ("a", "b\0c", "1"), ("a\0b", "c", "1")),
    ]
    drops = [Drop(bucket=bucket, key=key, version_id=version or None) for bucket, key, version in parts]
    assert len({image_id(drop) for drop in drops}) == len(drops)


@pytest.mark.parametrize("text", [*HOSTILE, "[red]x[/red]", "[link=https://evil]x[/link]", "[/]"])
def test_terminal_obeys_no_key_label_or_reason(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(console, "answers", Console(file=shown, force_terminal=True, width=400, color_system=None))
    best = (Prediction(label=text, score=0.5),)
    results = [
        Result(file=text, image_id="1", state=State.CLASSIFIED, predictions=best),
        Result(file="x", image_id="2", state=State.REJECTED, reason=text),
    ]
    console.show_results(results, Path("out"))
    printed = shown.getvalue()
    for letter in "\0\r\u202e":
        assert letter not in printed
    assert "\x1b[2J" not in printed
    assert "\x1b]8" not in printed
    if text.startswith("["):
        assert text in printed


def test_logs_hold_nothing_of_the_patient_the_picture_or_the_key(
    cloud: Cloud, chest_dicom: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A sound DICOM, a damaged one, one that cannot be submitted, and a message that is not understood."""
    caplog.set_level(logging.DEBUG, "heatdrop")
    data = chest_dicom.read_bytes()
    patient = pydicom.dcmread(chest_dicom, stop_before_pixels=True)
    good, bad = cloud.put(data, "Doe^Jane 1.dcm"), cloud.put(data[:-5000], "Doe^Jane 2.dcm")
    with throttled("SubmitJob"):
        cloud.infer(good, bad)
    event = cloud.drop_event(good)
    event["Records"][0]["body"] = json.dumps({"hello": "Doe^Jane"})
    cloud.handlers["inference"](event, Context())
    cloud.handlers["job_events"](event, Context())
    cloud.infer(good)
    cloud.heatmap_job().run(cloud.manifest(good)[0])
    assert (cloud.record(good).state, cloud.record(bad).state) == (State.EXPLAINED, State.REJECTED)
    out, err = capfd.readouterr()
    said = out + err + "\n".join(f"{r.getMessage()} {r.__dict__}" for r in caplog.records)
    assert image_id(good) in said
    assert "message failed" in said
    for value in (patient.PatientName, patient.PatientID, patient.StudyInstanceUID, "Doe^Jane", "X-Amz-Signature"):
        assert str(value)
        assert str(value) not in said
    assert not any(ord(letter) < 32 and letter not in "\n\r\t" for letter in out)
