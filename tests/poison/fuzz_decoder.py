"""Coverage-guided fuzzing of the decoder with Atheris: python tests/poison/fuzz_decoder.py CORPUS/

It ends at the first file that is neither a picture nor rejected, and keeps that file.
"""

import sys

import atheris

with atheris.instrument_imports(include=["heatdrop", "pydicom"]):
    from heatdrop.errors import RejectedImage
    from heatdrop.images import Limits, decode


def one_file(data: bytes) -> None:
    """Decode; only a rejection may leave the decoder."""
    try:
        decode(data, limits=Limits(max_pixels=4_000_000))
    except RejectedImage:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_file)
    atheris.Fuzz()
