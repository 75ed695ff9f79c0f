"""What the documents point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = (ROOT, ROOT / "shared" / "heatdrop")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    files = re.findall(r"`([\w./-]+/(?:[\w-]+\.(?:py|yaml|json|npz))?)`", text)
    ours = [file for file in files if not file.startswith(("out/", "build/", "bundles/"))]
    missing += [file for file in ours if not any((folder / file).exists() for folder in FOLDERS)]
    assert missing == []


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [path.parent.name for path in (ROOT / "shared" / "heatdrop").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}/`" not in text] == []
