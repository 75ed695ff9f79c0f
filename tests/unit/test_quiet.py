"""Native libraries are kept from greeting, and the terminal comes back whatever happens."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatdrop.images import decode
from heatdrop.quiet import native_output_hidden


def test_what_is_written_meanwhile_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with native_output_hidden():
        os.write(2, b"INFO: Created delegate ")
        os.write(1, b"an answer")
    os.write(2, b"after")
    assert capfd.readouterr() == ("an answer", "before after")


def test_an_error_inside_leaves_with_the_terminal_restored(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), native_output_hidden():
        raise ValueError("inside")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_no_file_descriptor_is_left_open() -> None:
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    for _ in range(3):
        with native_output_hidden():
            pass
    assert len(list(open_files.iterdir())) == before


def test_several_threads_may_hide_at_once_and_the_last_brings_the_terminal_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    outer, inner = native_output_hidden(), native_output_hidden()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    os.write(2, b"still hidden")
    inner.__exit__(None, None, None)
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_process_without_a_terminal_has_nothing_to_hide() -> None:
    program = (
        "import os; os.close(2)\n"
        "from heatdrop.quiet import native_output_hidden\n"
        "with native_output_hidden(): print('inside')\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "inside\n"


def test_what_libpng_says_of_a_picture_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    flawed_comment = struct.pack(">I4s3sI", 3, b"tEXt", b"a\0b", 1)
    assert decode(png[:33] + flawed_comment + png[33:]).pixels.shape == (8, 8, 3)
    assert capfd.readouterr() == ("", "")
