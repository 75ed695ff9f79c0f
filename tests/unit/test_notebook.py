"""``explain`` in a notebook: the figure is shown, and the code of the documentation runs."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import heatdrop
from heatdrop import images
from heatdrop.errors import InvalidBundle, InvalidRequest, RejectedImage
from heatdrop.explaining import notebook
from heatdrop.explaining.explainer import Explainer
from heatdrop.model import default
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier
from heatdrop.vocabulary import ExplanationSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "notebook.md"


@pytest.fixture
def here(chest_dicom: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a radiograph, and the tiny model in the place of the one that comes along."""
    shutil.copy(chest_dicom, tmp_path / "chest.dcm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(default, "open_default", lambda: tiny_bundle)
    return tmp_path


def test_the_code_of_the_documentation_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(cells) >= 5
    exec("\n".join(cells), {})  # noqa: S102
    said = capsys.readouterr().out
    assert "50 samples; trustworthiness of the maps: not measured" in said
    assert re.search(r"^\d+% apart$", said, re.MULTILINE)
    assert images.decode((here / "second.png").read_bytes()).format == "PNG"


def test_it_shows_the_figure_and_says_what_the_command_line_does(here: Path, tiny_bundle: Bundle) -> None:
    data = (here / "chest.dcm").read_bytes()
    result = heatdrop.explain("chest.dcm", samples=3, top=2)
    predictions = Classifier(tiny_bundle).classify(images.decode(data, at_least=tiny_bundle.size))
    expected = Explainer(tiny_bundle, ExplanationSettings(samples=3, top=2)).explain(data, predictions)
    assert result.predictions == predictions
    assert result._repr_png_() == result.figure() == expected.heatmaps[0].figure[1]
    assert result.overlay(result.labels[1]) == expected.heatmaps[1].overlay[1]
    assert set(result.maps()) == {"mean_abs", "signed", "squared", "variance", "standard_error"}
    assert not np.array_equal(result.maps()["mean_abs"], result.maps(result.labels[1])["mean_abs"])
    assert "not a medical device" in repr(result)
    assert "\x1b" not in repr(result)
    assert heatdrop.explain(data, tiny_bundle.folder, samples=3, top=2).figure() == result.figure()


def test_the_next_cell_does_not_load_the_model_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heatdrop.explain("chest.dcm", samples=2, top=1)
    monkeypatch.setattr(notebook, "Explainer", None)
    heatdrop.explain("chest.dcm", samples=2, top=1)


def test_what_is_wrong_is_a_sentence(here: Path, tiny_bundle: Bundle) -> None:
    with pytest.raises(InvalidRequest, match="sample"):
        heatdrop.explain("chest.dcm", sample=3)
    with pytest.raises(InvalidRequest, match="samples"):
        heatdrop.explain("chest.dcm", samples=-1)
    with pytest.raises(RejectedImage, match="cannot be read"):
        heatdrop.explain("nowhere.dcm")
    with pytest.raises(InvalidBundle):
        heatdrop.explain("chest.dcm", bundle=here)
    with pytest.raises(InvalidRequest, match="top"):
        heatdrop.explain("chest.dcm", samples=2, top=1).figure("other")
