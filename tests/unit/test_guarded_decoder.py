"""The decoder at arm's length: equal pictures, and what crashes, hangs or bloats it costs no other file anything."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.unit.test_damaged_images import CORPUS

from heatdrop import images
from heatdrop.errors import DecoderLost, RejectedImage, TooManyPixels, UnsafeImage
from heatdrop.images import Limits
from heatdrop.images.guarded import GuardedDecoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[GuardedDecoder]:
    with GuardedDecoder() as decoder:
        yield decoder


@pytest.mark.parametrize("kind", CORPUS)
def test_pictures_are_those_of_the_decoder_itself(decoder: GuardedDecoder, kind: str) -> None:
    for at_least in (None, (40, 40)):
        here, there = images.decode(CORPUS[kind], at_least=at_least), decoder.decode(CORPUS[kind], at_least=at_least)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert (there.format, there.width, there.height) == (here.format, here.width, here.height)


@pytest.mark.parametrize("data", [b"", b"text", CORPUS["JPEG"][:700], CORPUS["DICOM"][:3000]])
def test_rejections_are_those_of_the_decoder_itself(decoder: GuardedDecoder, data: bytes) -> None:
    with pytest.raises(RejectedImage) as here:
        images.decode(data)
    with pytest.raises(type(here.value)) as there:
        decoder.decode(data)
    assert str(there.value) == str(here.value)


def test_limits_reach_the_process(decoder: GuardedDecoder) -> None:
    with pytest.raises(TooManyPixels):
        decoder.decode(CORPUS["PNG"], limits=Limits(max_pixels=100))


def test_one_process_serves_many_files(decoder: GuardedDecoder) -> None:
    before = decoder.start()
    for _ in range(20):
        decoder.decode(CORPUS["JPEG"])
    assert decoder.start() == before


def crash(decoder: GuardedDecoder, how: signal.Signals, times: int) -> threading.Thread:
    """Let each of the next ``times`` processes end by a signal before it can answer."""
    first = decoder.start()
    os.kill(first, signal.SIGSTOP)

    def watch() -> None:
        pid = first
        # By now the first file waits; a fresh process takes longer to start than we to see it.
        time.sleep(0.1)
        for _ in range(times):
            os.kill(pid, how)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            while (running := decoder._running) is None or running.pid == pid:
                time.sleep(0.001)
            pid = running.pid

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL])
def test_file_that_meets_a_process_broken_by_an_earlier_one_is_decoded_all_the_same(how: signal.Signals) -> None:
    with GuardedDecoder() as decoder:
        crash(decoder, how, times=1)
        assert decoder.decode(CORPUS["JPEG"]).format == "JPEG"


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (signal.SIGSEGV, UnsafeImage, "makes its decoder crash; save the picture as an ordinary PNG"),
        (signal.SIGKILL, DecoderLost, "was killed twice; redrive the image"),
    ],
)
def test_file_that_ends_two_processes_is_given_up_and_the_next_is_decoded(
    how: signal.Signals, error: type[Exception], message: str
) -> None:
    with GuardedDecoder() as decoder:
        watching = crash(decoder, how, times=2)
        with pytest.raises(error, match=message):
            decoder.decode(CORPUS["JPEG"])
        assert decoder.decode(CORPUS["JPEG"]).format == "JPEG"
        watching.join()


def test_file_that_stands_still_is_given_up_in_time_and_the_next_is_decoded() -> None:
    with GuardedDecoder(stall_seconds=0.5) as decoder:
        os.kill(decoder.start(), signal.SIGSTOP)
        with pytest.raises(DecoderLost, match="did not end within 0 s; redrive"):
            decoder.decode(CORPUS["JPEG"])
    with GuardedDecoder() as decoder:
        assert decoder.decode(CORPUS["JPEG"]).format == "JPEG"


def test_file_that_takes_too_much_processor_time_is_rejected_and_the_next_is_decoded() -> None:
    """A picture that draws its last scan twenty times over."""
    done, encoded = cv2.imencode(".jpg", np.zeros((9900, 9900, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    once = encoded.tobytes()
    last = once.rindex(b"\xff\xda")
    slow = once[:last] + once[last:-2] * 20 + once[-2:]
    with GuardedDecoder(cpu_seconds=0) as decoder:
        with pytest.raises(UnsafeImage, match="takes more than 0 s of processor time; save the picture as an ordinary"):
            decoder.decode(slow)
        assert decoder.decode(CORPUS["JPEG"]).format == "JPEG"


def test_file_that_takes_too_much_memory_is_rejected_and_the_next_is_decoded() -> None:
    bomb = cv2.imencode(".png", np.zeros((7000, 7000, 3), np.uint8))[1].tobytes()
    assert len(bomb) < 1_000_000
    with GuardedDecoder(memory_bytes=100_000_000) as decoder:
        with pytest.raises(RejectedImage):
            decoder.decode(bomb)
        assert decoder.decode(CORPUS["JPEG"]).format == "JPEG"


def test_process_that_does_not_start_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        GuardedDecoder() as decoder,
        pytest.raises(DecoderLost, match=r"does not start \(exit code 1\); mend the inst"),
    ):
        decoder.decode(CORPUS["JPEG"])


def test_error_that_is_no_rejection_is_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sitecustomize`` runs before the process does; here a decoder fails in a way that nobody thought of."""
    broken = "from heatdrop import images\ndef decode(*a, **k): raise ZeroDivisionError\nimages.decode = decode\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    with GuardedDecoder() as decoder, pytest.raises(UnsafeImage, match="makes its decoder crash"):
        decoder.decode(CORPUS["JPEG"])


def test_process_finds_what_lies_in_the_folder_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("from pathlib import Path\nPath(__file__).with_name('seen').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with GuardedDecoder() as decoder:
        assert decoder.decode(CORPUS["JPEG"]).format == "JPEG"
    assert (tmp_path / "seen").exists()


def test_process_knows_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    with GuardedDecoder() as decoder:
        decoder.decode(CORPUS["JPEG"])
        assert b"secret" not in Path(f"/proc/{decoder.start()}/environ").read_bytes()


def test_nothing_is_left_behind() -> None:
    decoder = GuardedDecoder()
    pid = decoder.start()
    del decoder
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
