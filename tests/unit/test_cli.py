"""What a person and a program get from the command line: answers, sentences, exit codes; never a traceback."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from heatdrop import cli, images
from heatdrop.aws.storage import fitting_key
from heatdrop.cli import console, drop
from heatdrop.cli.app import app
from heatdrop.cli.extras import MODULES
from heatdrop.images import decode
from heatdrop.model import default
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.model.classifier import Classifier
from heatdrop.vocabulary import Prediction, Result, State

CONTRACT = [
    *("file", "image_id", "state", "reason", "predictions", "unusual"),
    *("picture", "heatmaps", "trust", "model", "timings_ms"),
]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Heatdrop = Callable[..., Done]


@pytest.fixture
def heatdrop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Heatdrop:
    """Run the command line in this process."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["heatdrop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def folder(chest_jpeg: Path, tmp_path: Path) -> Path:
    """Two images with the same bytes, in two folders, and one that is none."""
    root = tmp_path / "xrays"
    (root / "deep").mkdir(parents=True)
    shutil.copy(chest_jpeg, root / "a.jpg")
    shutil.copy(chest_jpeg, root / "deep" / "b.jpg")
    (root / "broken.jpg").write_bytes(b"no image")
    return root


def says(done: Done) -> str:
    """The one sentence on standard error."""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("heatdrop: ")
    return lines[0]


def test_classify_prints_one_json_object_a_file_in_the_contract(
    heatdrop: Heatdrop, tiny_bundle: Bundle, folder: Path
) -> None:
    done = heatdrop("classify", folder, "--bundle", tiny_bundle.folder, "--json")
    assert done.code == 0
    first, broken, second = done.answers
    assert all(list(answer) == CONTRACT for answer in done.answers)
    files = [folder / "a.jpg", folder / "broken.jpg", folder / "deep" / "b.jpg"]
    assert [answer["file"] for answer in done.answers] == [str(file) for file in files]
    assert [answer["state"] for answer in done.answers] == ["CLASSIFIED", "REJECTED", "CLASSIFIED"]
    assert first["image_id"] != second["image_id"]
    assert first["predictions"] == second["predictions"]

    expected = Classifier(tiny_bundle).classify(decode(files[0].read_bytes(), at_least=tiny_bundle.size))
    assert first["predictions"] == [{"label": p.label, "score": p.score} for p in expected]
    assert first["model"] == {"name": "tiny", "version": tiny_bundle.model.version}
    assert (first["reason"], first["heatmaps"]) == (None, [])
    assert set(first["timings_ms"]) == {"decode", "predict"}
    assert broken["reason"]
    assert (broken["predictions"], broken["model"]) == ([], None)


def test_json_lines_come_as_the_answers_do(
    heatdrop: Heatdrop, tiny_bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    resize = images.resize

    def watched(*arguments: Any) -> Any:
        sys.stdout.flush()
        seen.append(len(sys.stdout.buffer.getvalue().splitlines()))
        return resize(*arguments)

    monkeypatch.setattr(images, "resize", watched)
    assert heatdrop("classify", folder, "--bundle", tiny_bundle.folder, "--json").code == 0
    assert seen == [0, 2]  # the broken file in between is never resized


def test_explain_writes_what_it_names(heatdrop: Heatdrop, tiny_bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--top", 1, "--samples", 2, "--estimator", "squared", "--noise-level", 0.1)
    done = heatdrop("explain", folder, "--bundle", tiny_bundle.folder, "--out", out, "--json", *options)
    assert done.code == 0
    assert [answer["state"] for answer in done.answers] == ["EXPLAINED", "REJECTED", "EXPLAINED"]
    assert (out / "results.jsonl").read_text(encoding="utf-8") == done.out
    kinds = ("overlay", "figure", "maps")
    named = {heatmap[kind] for answer in done.answers for heatmap in answer["heatmaps"] for kind in kinds}
    assert len(named) == 6
    for path in named:
        assert (out / path).stat().st_size > 100
    (maps,) = {heatmap["maps"] for heatmap in done.answers[0]["heatmaps"]}
    with np.load(out / maps, allow_pickle=False) as arrays:
        provenance = json.loads(str(arrays["provenance"]))
    wanted = {"estimator": "squared", "samples": 2, "noise_level": 0.1}
    assert wanted.items() <= provenance.items()


def test_the_table_shows_files_states_classes_and_reasons(
    heatdrop: Heatdrop, tiny_bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    done = heatdrop("explain", folder, "--bundle", tiny_bundle.folder, "--out", tmp_path / "o", "--samples", 0)
    assert done.code == 0
    rows = done.out.splitlines()
    assert any(row.startswith("a.jpg ") and "EXPLAINED" in row and "$x_1$ 0." in row for row in rows)
    assert any(row.startswith("broken.jpg ") and "REJECTED" in row for row in rows)
    assert any(row.startswith("deep/b.jpg ") for row in rows)
    assert "not a medical device" in rows[-1]
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["/very/long/path/to/a.jpg"], ["a.jpg"]),
        (["/data/x/a.jpg", "/data/y/z/b.jpg"], ["x/a.jpg", "y/z/b.jpg"]),
        (["x/a.jpg", "x/b.jpg"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "x/b.jpg"], ["a.jpg", "x/b.jpg"]),
        (["../a.jpg", "b.jpg"], ["../a.jpg", "b.jpg"]),
        (["/a.jpg", "b.jpg"], ["/a.jpg", "b.jpg"]),
        (["/data/[red]x\x1b[31m\n.jpg", "/data/y.jpg"], ["[red]x�[31m�.jpg", "y.jpg"]),
    ],
)
def test_files_are_shown_as_seen_from_the_folder_they_share(
    capsys: pytest.CaptureFixture[str], files: list[str], shown: list[str]
) -> None:
    prediction = (Prediction(label="[bold]N\x07", score=0.5),)
    console.show_results([Result(file=f, image_id="0", state=State.CLASSIFIED, predictions=prediction) for f in files])
    rows = capsys.readouterr().out.splitlines()[1:-1]
    assert [row.split(" ")[0] for row in rows] == shown
    assert all("[bold]N� 0.500" in row for row in rows)


def test_a_file_whose_name_is_not_utf_8_is_answered(heatdrop: Heatdrop, tiny_bundle: Bundle, folder: Path) -> None:
    (folder / "a.jpg").rename(folder / os.fsdecode(b"\xff\xe9.jpg"))
    done = heatdrop("classify", folder / "*.jpg", "--bundle", tiny_bundle.folder, "--json")
    states = {Path(answer["file"]).name: answer["state"] for answer in done.answers}
    assert states == {"broken.jpg": "REJECTED", "\\xff\\xe9.jpg": "CLASSIFIED"}
    assert heatdrop("classify", folder, "--bundle", tiny_bundle.folder).code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["classify", "nowhere.jpg"], "nowhere.jpg is no file"),
        (["classify", "\x1b[31m"], "�[31m is no file"),
        (["classify", "{jpeg}", "--bundle", "nowhere"], "nowhere is no model bundle"),
        (["explain", "{jpeg}", "--out", "{jpeg}/out"], "output folder"),
        (["explain", "nowhere.jpg"], "nowhere.jpg is no file"),
        (["bundle", "check", "{jpeg}"], "no model bundle"),
        (["bundle", "pack", "nowhere.keras", "--labels", "{labels}", "--preprocess", "none"], "no Keras model"),
        (["bundle", "pack", "nowhere.keras", "--labels", "{labels}", "--preprocess", "best"], "'best'; choose one"),
        (
            ["bundle", "pack", "nowhere.keras", "--labels", "none.txt", "--preprocess", "none"],
            "none.txt cannot be read",
        ),
        (["view", "--out", "nowhere"], "--stack"),
        (["view", "--stack", "s", "--local"], "not both"),
        (["train", "nowhere", "--weights", "none"], "nowhere is not a folder"),
        (["train", ".", "--small-first", "big", "--weights", "none"], "64x6,96x6"),
        (["train", ".", "--small-first", "8x1", "--weights", "none"], "size"),
        (["train", ".", "--weights", "nowhere.h5"], "nowhere.h5"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    heatdrop: Heatdrop,
    chest_jpeg: Path,
    tmp_path: Path,
    arguments: list[str],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb")
    done = heatdrop(*[a.format(jpeg=chest_jpeg, labels=tmp_path / "labels.txt") for a in arguments])
    lines = [line for line in done.err.splitlines() if line.startswith("heatdrop: ")]
    assert done.code == 2
    assert len(lines) == 1
    assert problem in lines[0]
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify"],
        ["explain", "x", "--top", "0"],
        ["explain", "x", "--samples", "-1"],
        ["explain", "x", "--noise-level", "0"],
        ["explain", "x", "--noise-level", "nan"],
        ["explain", "x", "--top", "many"],
        ["explain", "x", "--estimator", "best"],
        ["train", "x", "--image-size", "16"],
        ["train", "x", "--architecture", "vgg16"],
        ["train", "x", "--labels", "best"],
        ["bundle", "pack", "x"],
        ["unknown"],
    ],
)
def test_options_that_are_missing_or_out_of_range_are_one_sentence(heatdrop: Heatdrop, arguments: list[str]) -> None:
    done = heatdrop(*arguments)
    assert done.code == 2
    command = " ".join(word for word in arguments if word in {"classify", "explain", "train", "bundle", "pack"})
    assert says(done).endswith(f"See `{f'heatdrop {command}'.strip()} --help`.")
    assert done.out == ""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, by its words."""
    for name, command in group.commands.items():
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [(*path, name)]


COMMANDS = sorted(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_helps_with_an_example_and_speaks_json(heatdrop: Heatdrop, command: tuple[str, ...]) -> None:
    done = heatdrop(*command, "--help")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert f"Example: heatdrop {' '.join(command)} " in words
    assert ("--json" in words) == (command != ("bench", "reference"))  # which writes a file and says nothing


def test_the_command_reference_is_what_the_commands_say_of_themselves() -> None:
    written = [sys.executable, "-m", "typer", "heatdrop.cli.app", "utils", "docs", "--name", "heatdrop"]
    done = subprocess.run(written, capture_output=True, text=True, check=True)
    reference = Path(__file__).parents[2] / "docs/commands.md"
    assert reference.read_text(encoding="utf-8").strip() == done.stdout.strip(), "run `make documents`"


def test_heatdrop_alone_prints_its_help_and_nothing_else(heatdrop: Heatdrop) -> None:
    done = heatdrop()
    assert (done.code, done.err) == (2, "")
    assert all(command in done.out for command in ("serve", "drop", "results", "watch"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str, tmp_path: Path) -> None:
    """As the script of ``--show-completion`` asks: by variables of the environment."""
    typed = "heatdrop results --st"
    asked = {"_HEATDROP_COMPLETE": f"complete_{shell}", "COMP_WORDS": typed, "COMP_CWORD": "2"}
    asked |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-m", "heatdrop.cli"], env=os.environ | asked, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {"--stack", "--state"} <= set(re.findall(r"--[a-z]+", done.stdout))


def test_a_model_of_ones_own_is_packed_checked_and_used(heatdrop: Heatdrop, chest_jpeg: Path, tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "mine.keras")
    (tmp_path / "labels.txt").write_text("sound\nill\n")
    options = ("--labels", tmp_path / "labels.txt", "--preprocess", "scale01", "--out", tmp_path / "b")
    packed = heatdrop("bundle", "pack", tmp_path / "mine.keras", *options)
    bundle = open_bundle(tmp_path / "b")
    assert packed.code == 0
    assert packed.out.splitlines()[0] == f"mine {bundle.model.version}: 32 x 32, sound, ill; {tmp_path / 'b'}"
    assert heatdrop("bundle", "check", tmp_path / "b") == Done(0, packed.out, "")
    (answer,) = heatdrop("classify", chest_jpeg, "--bundle", tmp_path / "b", "--json").answers
    assert {p["label"] for p in answer["predictions"]} == {"sound", "ill"}
    (tmp_path / "b" / "model.tflite").write_bytes(b"changed")
    assert "model.tflite" in says(heatdrop("bundle", "check", tmp_path / "b"))


def test_without_a_bundle_and_without_the_models_source_a_bundle_is_asked_for(
    heatdrop: Heatdrop, chest_jpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default, "MODEL_SOURCE", tmp_path / "nowhere")
    monkeypatch.setattr(default, "BUILT_BUNDLE", tmp_path / "neither")
    done = heatdrop("classify", chest_jpeg)
    assert done.code == 2
    assert "--bundle" in done.err.splitlines()[-1]


def test_training_shows_its_epochs_and_figures(
    heatdrop: Heatdrop, tiny_backbone: None, chest_dicom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heatdrop.model.metrics.BOOTSTRAP_ROUNDS", 50)
    pixels = decode(chest_dicom.read_bytes()).pixels[::6, ::6]
    for label, view in (("NORMAL", pixels), ("TURNED", pixels[::-1])):
        (tmp_path / "data" / label).mkdir(parents=True)
        for shift in range(12):
            cv2.imwrite(str(tmp_path / "data" / label / f"{shift}.png"), view[shift:, shift:])
    options = ("--weights", "none", "--epochs", 1, "--image-size", 32, "--batch-size", 8, "--out", tmp_path / "b")
    done = heatdrop("train", tmp_path / "data", *options)
    assert done.code == 0, done.err
    assert "epoch 1, 32 px: loss" in done.err
    assert "validation_shifted" in done.out
    assert "accuracy" in done.out
    assert f"Bundle b {open_bundle(tmp_path / 'b').model.version} is in" in done.out
    other = heatdrop("train", tmp_path / "data", *options, "--seed", 1)
    assert other.code == 2
    assert "other settings" in other.err


def test_answers_go_down_a_pipe_and_progress_to_the_terminal(tiny_bundle: Bundle, folder: Path) -> None:
    """In a process of its own: standard error is a terminal, standard output a pipe that is closed early."""
    terminal, child_side = pty.openpty()
    arguments = ["classify", str(folder), "--bundle", str(tiny_bundle.folder), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "heatdrop.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=child_side,
        env=os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "ascii"},
    )
    os.close(child_side)
    output, _ = process.communicate()
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert process.returncode == 0
    assert [json.loads(line)["state"] for line in output.splitlines()] == ["CLASSIFIED", "REJECTED", "CLASSIFIED"]
    assert "classified" in shown
    assert "image_id" not in shown
    assert "delegate" not in shown


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        (["a.png", ".a.png"], ["a.png", ".a.png"]),
        (["./x/a.png", "x/..a.png"], ["x/a.png", "x/..a.png"]),
        (["x/a.png", "/x/a.png"], ["here/x/a.png", "x/a.png"]),
        (["a.png", "../a.png"], ["here/a.png", "a.png"]),
        (["/data/a.png", "a.png"], ["data/a.png", "a.png"]),
        (["x/a.png", "x\\a.png"], ["x/a.png", "x\\a.png"]),
    ],
)
def test_files_that_differ_are_dropped_under_keys_that_differ(
    monkeypatch: pytest.MonkeyPatch, files: list[str], keys: list[str]
) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "/here")
    assert drop.keys_of([Path(file) for file in files]) == keys


@pytest.mark.parametrize("length", [1000, 1019, 1020, 3000])
def test_a_key_fits_into_s3_and_stays_unique(length: int) -> None:
    keys = {fitting_key(first + "é" * (length // 2) + ".png") for first in "ab"}
    assert len(keys) == 2
    assert max(len(key.encode()) for key in keys) <= 1024


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (["run", "{jpeg}"], "moto", "local"),
        (["run", "{jpeg}"], "awslambdaric", "local"),  # which only the functions' processes import
        (["run", "{jpeg}", "--bundle", "{bundle}"], "matplotlib", "explain"),
        (["serve"], "werkzeug", "view"),
        (["explain", "{jpeg}", "--bundle", "{bundle}"], "matplotlib", "explain"),
        (["bundle", "pack", "model.keras", "--labels", "a", "--preprocess", "none"], "keras", "tensorflow"),
    ],
)
def test_a_library_that_is_not_installed_is_told_with_the_extra_that_brings_it(
    tiny_bundle: Bundle, folder: Path, command: list[str], module: str, extra: str
) -> None:
    """In a process of its own, where none of them is loaded yet."""
    absent = f"import sys; sys.modules[{module!r}] = None; from heatdrop.cli import main; main()"
    arguments = [word.format(jpeg=folder / "a.jpg", bundle=tiny_bundle.folder) for word in command]
    done = subprocess.run([sys.executable, "-c", absent, *arguments], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 2, done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence == f"heatdrop: this command needs {module}, which is not installed: install heatdrop[{extra}]"


def test_every_library_of_an_extra_is_known_to_belong_to_it() -> None:
    """By the installed metadata, read again for each: what is added to pyproject.toml is added to the table too."""
    modules = packages_distributions()
    optional = [Requirement(text) for text in requires("heatdrop") or [] if "extra ==" in text]
    for requirement in (each for each in optional if each.name != "heatdrop"):
        name = canonicalize_name(requirement.name)
        found = {m for m, owners in modules.items() if name in map(canonicalize_name, owners)} - {"tests"}
        for extra, known in MODULES.items():
            if found and requirement.marker and requirement.marker.evaluate({"extra": extra}):
                assert found & set(known), f"{requirement} belongs to {extra}"
