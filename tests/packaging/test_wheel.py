"""The wheel holds all that the commands need, so that an installation works without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from heatdrop.model.bundle import Bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT_FILES = ("template.yaml", "functions", "layers", "models")
SOURCES = (*PROJECT_FILES, "shared", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def files_below(*tops: Path) -> set[Path]:
    found = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    return {path for path in found if path.is_file() and "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays clean, and without the network."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for file in files_below(*(ROOT / name for name in SOURCES)):
        copy = source / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(made))
    subprocess.run([*PIP, "wheel", str(source), *options], check=True)
    (wheel,) = made.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel alone is installed into; found before the editable installation of the checkout."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [*PIP, "install", "--no-compile", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True
    )
    return target


def heatdrop(installed: Path, here: Path, *arguments: object) -> str:
    """What a command of the installation prints, started outside the checkout."""
    done = subprocess.run(
        [sys.executable, str(installed / "bin" / "heatdrop"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(installed)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_of_the_project(wheel: Path) -> None:
    packed = {Path(name) for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    package = {file.relative_to(ROOT / "shared") for file in files_below(ROOT / "shared" / "heatdrop")}
    project = {file.relative_to(ROOT) for file in files_below(*(ROOT / name for name in PROJECT_FILES))}
    assert packed == package | {Path("heatdrop/project_files") / file for file in project}


def test_an_installation_finds_its_files_and_builds_in_the_users_cache(installed: Path, tmp_path: Path) -> None:
    script = "from heatdrop import project as p; print(p.TEMPLATE, p.MODEL_SOURCE, p.BUILT_BUNDLE)"
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    template, source, bundle = map(Path, printed.stdout.split())
    assert {template.parent, source.parents[1]} == {installed / "heatdrop" / "project_files"}
    assert template.is_file()
    assert source.is_dir()
    assert bundle.is_relative_to(tmp_path)


def test_an_installation_classifies_and_runs_the_whole_way(
    installed: Path, tiny_bundle: Bundle, chest_jpeg: Path, tmp_path: Path
) -> None:
    common = (chest_jpeg, "--bundle", tiny_bundle.folder, "--json")
    classified = json.loads(heatdrop(installed, tmp_path, "classify", *common))
    explained = json.loads(heatdrop(installed, tmp_path, "run", *common, "--samples", 1, "--top", 1))
    assert (classified["state"], explained["state"]) == ("CLASSIFIED", "EXPLAINED")
    assert classified["predictions"] == explained["predictions"]
    assert (tmp_path / "out" / explained["heatmaps"][0]["overlay"]).is_file()
