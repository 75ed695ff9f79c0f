"""Coverage-guided fuzzing of the decoder with Atheris, by ``make test-fuzz``.

The first argument is the folder of files to start from, which grows by those that reach new code; an empty one is
filled with a file of each format. Other arguments are libFuzzer's. It ends at the first file that is neither a picture
nor rejected, and keeps that file in the folder it was started in.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import atheris

with atheris.instrument_imports(include=["heatdrop", "pydicom"]):
    from heatdrop.errors import RejectedImage
    from heatdrop.images import Limits, decode

SEEDS = Path(__file__).parents[1] / "unit" / "test_damaged_images.py"
# As in pytest, this folder is the package of that name, whatever else is installed under it.
sys.modules["tests"] = ModuleType("tests")
sys.modules["tests"].__path__ = [str(Path(__file__).parents[1])]


def one_file(data: bytes) -> None:
    """Decode; only a rejection may leave the decoder."""
    try:
        decode(data, limits=Limits(max_pixels=4_000_000))
    except RejectedImage:
        return


def fill(corpus: Path) -> None:
    """Write a file of each format into ``corpus`` unless it has files."""
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for name, data in runpy.run_path(str(SEEDS))["CORPUS"].items():
            (corpus / name.replace(" ", "-").lower()).write_bytes(data)


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one_file)
    atheris.Fuzz()
