"""A DICOM image is shown as its tables, windows, padding and palette say, and what makes no sense counts as absent.

The tables, windows and palettes of 8 and 16 bits here were compared with dcm2pnm of DCMTK 3.6.7: within 1 of 255.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from tests.unit.dicom_files import (
    BRIGHTNESS,
    RAMP,
    SIGNED_RAMP,
    differs,
    grey,
    radiograph,
    table,
    written,
)

from heatdrop.errors import UnsupportedImage
from heatdrop.images import decode

COLOURS = ("Red", "Green", "Blue")


def windowed(center: float, width: float) -> NDArray[np.float64]:
    """The linear function of PS3.3 C.11.2.1.2.1 over the ramp."""
    return np.clip((RAMP - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"])
@pytest.mark.parametrize("senseless", ["", "NaN ", "inf ", "abc ", "1e99", "\\\\  ", "- 1 "])
def test_empty_or_senseless_number_counts_as_absent(keyword: str, senseless: str) -> None:
    others = {"RescaleSlope": "1", "RescaleIntercept": "0", "WindowCenter": "2048", "WindowWidth": "4096"}
    data = written(radiograph(**others | {keyword: "4711" if senseless else None}))
    data = data.replace(b"4711", senseless.encode()) if senseless else data
    assert differs(data, BRIGHTNESS) <= 0.6


def test_slope_and_intercept_count_each_by_itself() -> None:
    window = {"WindowCenter": 4096, "WindowWidth": 8192}
    assert differs(written(radiograph(RescaleSlope=2, RescaleIntercept=None, **window)), BRIGHTNESS) <= 0.6
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    assert (
        differs(written(radiograph(RescaleSlope=None, RescaleIntercept=-2048, **window)), windowed(2048, 4096)) <= 0.6
    )
    assert differs(written(radiograph(RescaleSlope=0, RescaleIntercept=5)), BRIGHTNESS) <= 0.6


def test_negative_slope_turns_dark_into_light() -> None:
    assert differs(written(radiograph(RescaleSlope=-1, RescaleIntercept=5)), 255 - BRIGHTNESS) <= 0.6


@pytest.mark.parametrize(
    ("center", "width"),
    [
        ("\\2048", "\\4096"),
        ("NaN\\2048", "10\\4096"),
        ("1000\\2048", "0\\4096"),
        ("2048\\7", "4096"),
        ("2048", "4096\\9"),
    ],
)
def test_first_window_that_makes_sense_counts(center: str, width: str) -> None:
    data = written(radiograph(WindowCenter=center.split("\\"), WindowWidth=width.split("\\")))
    assert differs(data, windowed(2048, 4096)) <= 0.6


@pytest.mark.parametrize("function", ["", "NONSENSE", "linear"])
def test_unknown_window_function_is_linear(function: str) -> None:
    data = written(radiograph(WindowCenter=2000, WindowWidth=400, VOILUTFunction=function))
    assert differs(data, windowed(2000, 400)) <= 0.6


@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("flaw", ["no item", "no data", "no descriptor", "short descriptor", "no entries"])
def test_broken_table_counts_as_absent_and_what_stands_beside_it_is_used(sequence: str, flaw: str) -> None:
    item = table(np.arange(4096)[::-1], 12)
    if flaw == "no data":
        del item.LUTData
    elif flaw == "no descriptor":
        del item.LUTDescriptor
    elif flaw == "short descriptor":
        item.LUTDescriptor = [4096, 0]
    elif flaw == "no entries":
        item.LUTData = None
    broken = {sequence: [] if flaw == "no item" else [item]}
    data = written(radiograph(RescaleSlope=2, RescaleIntercept=0, WindowCenter=4096, WindowWidth=1000, **broken))
    assert differs(data, np.clip((RAMP * 2.0 - 4095.5) / 999 + 0.5, 0, 1) * 255) <= 0.6


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("how", ["US", "SS", "OW"])
@pytest.mark.parametrize("pixels", [RAMP, SIGNED_RAMP], ids=["unsigned", "signed"])
@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
def test_table_of_any_depth_maps_each_value_to_its_entry(
    bits: int, how: str, pixels: NDArray[Any], sequence: str
) -> None:
    highest = 2**bits - 1
    entries = np.rint((np.arange(4096) / 4095) ** 2 * highest).astype(int)
    data = written(radiograph(pixels, **{sequence: [table(entries, bits, first=int(pixels.min()), how=how)]}))
    assert differs(data, entries.reshape(64, 64) * (255 / highest)) <= 0.6


@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("count", [4095, 4096])
def test_entries_of_8_bits_may_be_packed_into_words(sequence: str, count: int) -> None:
    entries = np.arange(count) // 16
    data = written(radiograph(**{sequence: [table(entries, 8, how="packed")]}))
    assert differs(data, RAMP // 16) <= 0.6


def test_values_outside_a_table_take_its_first_and_last_entry() -> None:
    data = written(radiograph(VOILUTSequence=[table([100, 150, 200], 8, first=1000)]))
    assert differs(data, np.select([RAMP <= 1000, RAMP == 1001], [100, 150], 200)) == 0


@pytest.mark.parametrize("pixels", [RAMP << 4, (RAMP << 4).view(np.int16)], ids=["unsigned", "signed"])
def test_count_of_0_means_65536_entries(pixels: NDArray[Any]) -> None:
    first = -32768 if pixels.dtype.kind == "i" else 0
    data = written(radiograph(pixels, 16, VOILUTSequence=[table(np.arange(65536), 16, first=first, how="OW")]))
    assert differs(data, (pixels.astype(int) - first) / 257) <= 0.6


def test_negative_first_value_in_an_unsigned_descriptor_is_still_negative() -> None:
    for signed in (radiograph(SIGNED_RAMP), radiograph(RescaleSlope=1, RescaleIntercept=-2048)):
        signed.VOILUTSequence = [table(np.arange(4096), 12, first=65536 - 2048)]
        assert differs(written(signed), BRIGHTNESS) <= 0.6


@pytest.mark.parametrize(
    ("entries", "bits", "count", "expected"),
    [
        (np.arange(4096), 12, 5000, BRIGHTNESS),  # fewer entries than said
        (np.arange(2000), 12, 4096, np.minimum(RAMP, 1999) * (255 / 4095)),
        (np.arange(4096), 12, 2000, np.minimum(RAMP, 1999) * (255 / 4095)),  # more
        (np.arange(4096) * 16, 12, 4096, BRIGHTNESS),  # entries above their bits
        (np.arange(4096), 8, 4096, BRIGHTNESS),
        (np.arange(4096), 0, 4096, BRIGHTNESS),
        (np.arange(4096) // 16, 8, 0, RAMP // 16),  # 65,536 said, 4,096 there
    ],
)
def test_half_legal_table_is_read_as_it_was_meant(
    entries: NDArray[Any], bits: int, count: int, expected: NDArray[Any]
) -> None:
    assert differs(written(radiograph(VOILUTSequence=[table(entries, bits, count=count)])), expected) <= 0.6


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("how", ["US", "OW"])
def test_tables_are_read_in_every_byte_order_and_without_value_representations(syntax: Any, how: str) -> None:
    big = syntax == ExplicitVRBigEndian
    item = table(np.arange(4096)[::-1], 12, first=-2048, how=how)
    dataset = radiograph(SIGNED_RAMP.byteswap() if big else SIGNED_RAMP, ModalityLUTSequence=[item])
    if big and how == "OW":
        item.LUTData = np.arange(4096)[::-1].astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    assert differs(written(dataset), 255 - BRIGHTNESS) <= 0.6


def group(**macros: Dataset) -> Dataset:
    holder = Dataset()
    for keyword, item in macros.items():
        setattr(holder, keyword, [item])
    return holder


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("sequence", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_functional_groups_say_how_the_one_frame_is_shown(sequence: str) -> None:
    top = grey(written(radiograph(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)))
    rescaling = item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    groups = group(
        PixelValueTransformationSequence=rescaling, FrameVOILUTSequence=item(WindowCenter=40, WindowWidth=400)
    )
    data = written(radiograph(NumberOfFrames=1, **{sequence: [groups]}))
    assert np.array_equal(grey(data), top)


def test_functional_groups_may_be_split_and_hold_tables_and_functions() -> None:
    shared = group(PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-2048))
    voi = table(np.arange(4096)[::-1], 12, first=-2048)
    frame = group(FrameVOILUTSequence=item(VOILUTSequence=[voi]))
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [frame]}
    assert differs(written(radiograph(**groups)), 255 - BRIGHTNESS) <= 0.6
    frame.FrameVOILUTSequence = [item(WindowCenter=0, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT")]
    assert differs(written(radiograph(**groups)), RAMP / 4096 * 255) <= 0.6


def test_senseless_functional_group_gives_way_to_the_next() -> None:
    frame = group(FrameVOILUTSequence=item(WindowCenter=None, WindowWidth=None))
    shared = group(FrameVOILUTSequence=item(WindowCenter=1000, WindowWidth=0))
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [frame]}
    data = written(radiograph(WindowCenter=2000, WindowWidth=400, **groups))
    assert differs(data, windowed(2000, 400)) <= 0.6


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("pixels", [RAMP, SIGNED_RAMP], ids=["unsigned", "signed"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 4096}], ids=["stretched", "window"])
@pytest.mark.parametrize("reach", [None, 99, -99])
def test_padding_is_black_and_does_not_count(
    photometric: str, pixels: NDArray[Any], window: dict[str, int], reach: int | None
) -> None:
    padding = int(pixels[0, 0]) + (99 if reach == -99 else 0)
    dataset = radiograph(pixels, PhotometricInterpretation=photometric, **window)
    dataset.add_new("PixelPaddingValue", "SS" if pixels.dtype.kind == "i" else "US", padding)
    if reach is not None:
        dataset.add_new("PixelPaddingRangeLimit", dataset["PixelPaddingValue"].VR, padding + reach)
    is_padding = (0 if reach is None else 99) >= RAMP
    values = pixels.astype(np.float64)
    least = values[~is_padding].min()
    shown = (values - 1999.5) / 4095 + 0.5 if window else (values - least) / (values.max() - least)
    shown = np.clip(shown, 0, 1) * 255
    shown = 255 - shown if photometric == "MONOCHROME1" else shown
    assert differs(written(dataset), np.where(is_padding, 0, shown)) <= 0.6


def test_padding_far_below_the_picture_leaves_it_its_contrast() -> None:
    columns = np.mgrid[0:64, 0:64][1]
    dataset = radiograph(np.where(columns < 8, -2000, 1000 + columns).astype(np.int16), 16)
    for representation, value in (("SS", -2000), ("US", 65536 - 2000)):
        dataset.add_new("PixelPaddingValue", representation, value)
        assert differs(written(dataset), np.where(columns < 8, 0, (columns - 8) / 55 * 255)) <= 0.6


def test_padding_of_everything_is_black_and_of_colours_is_none() -> None:
    assert grey(written(radiograph(PixelPaddingValue=0, PixelPaddingRangeLimit=4095))).max() == 0
    colour = radiograph(np.full((64, 192), 200, np.uint8), 8, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    colour.Columns, colour.PlanarConfiguration, colour.PixelPaddingValue = 64, 0, 200
    assert decode(written(colour)).pixels.min() == 200


@pytest.mark.parametrize("width", [1, 1.5, 2, 3, 400.5])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_of_any_width_is_that_of_the_standard(width: float, function: str) -> None:
    center = 2000.25
    if function == "SIGMOID":
        expected = 255 / (1 + np.exp(np.clip(-4 * (RAMP - center) / width, -700, 700)))
    elif function == "LINEAR" and width == 1:
        expected = np.where(center - 0.5 < RAMP, 255, 0)
    else:
        middle, span = (center - 0.5, width - 1) if function == "LINEAR" else (center, width)
        expected = np.clip((RAMP - middle) / span + 0.5, 0, 1) * 255
    data = written(radiograph(WindowCenter=center, WindowWidth=width, VOILUTFunction=function))
    assert differs(data, expected) <= 0.6


def test_width_below_1_is_none_for_the_linear_function_alone() -> None:
    narrow = {"WindowCenter": 2000, "WindowWidth": 0.5}
    assert differs(written(radiograph(**narrow)), BRIGHTNESS) <= 0.6
    exact = grey(written(radiograph(VOILUTFunction="LINEAR_EXACT", **narrow)))
    assert set(np.unique(exact)) == {0, 128, 255}


def test_picture_of_one_value_in_a_window_of_width_1_is_white() -> None:
    assert grey(written(radiograph(np.ones((64, 64), np.uint8), 8, WindowCenter=1, WindowWidth=1))).min() == 255


def palette(bits: int, data: bytes, *, count: int = 256, first: int = 0, segmented: bool = False) -> Dataset:
    pixels = np.arange(4096).reshape(64, 64).astype(np.uint8)
    dataset = radiograph(pixels, 8, PhotometricInterpretation="PALETTE COLOR")
    for colour in COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        dataset.add_new(f"{name}Descriptor", "US", [count % 65536, first, bits])
        dataset.add_new(f"{'Segmented' if segmented else ''}{name}Data", "OW", data)
    return dataset


def words(numbers: Any) -> bytes:
    return np.asarray(numbers).astype("<u2").tobytes()


@pytest.mark.parametrize(
    ("bits", "data"),
    [
        (8, np.arange(256).astype(np.uint8).tobytes()),
        (8, words(np.arange(256))),
        (16, words(np.arange(256) * 257)),
        (16, words(np.arange(256))),  # 8 bits in use
        (16, words(np.rint(np.arange(256) * (4095 / 255)))),  # 12 bits in use
        (12, words(np.rint(np.arange(256) * (4095 / 255)))),
        (8, words(np.arange(256) * 257)),  # above their bits
    ],
)
def test_palette_is_scaled_by_the_bits_in_use(bits: int, data: bytes) -> None:
    assert differs(written(palette(bits, data)), np.tile(np.arange(256), 16).reshape(64, 64)) <= 0.6


@pytest.mark.parametrize(
    ("bits", "data"),
    [
        (8, bytes([0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0, 0, 0, 0, 2, 7, 8, 0])),
        (8, words([0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0, 0, 2, 7, 8])),
        (16, words([0, 2, 2570, 5140, 1, 4, 15420, 2, 1, 0, 0, 0, 2, 1799, 2056])),
    ],
    ids=["bytes", "words of 8 bits", "words"],
)
def test_segmented_palette_is_expanded(bits: int, data: bytes) -> None:
    """Two entries, a line of four, the first segment again, and two entries (PS3.3 C.7.9.2)."""
    entries = np.array([10, 20, 30, 40, 50, 60, 10, 20, 7, 8])
    expected = entries[np.minimum(np.arange(4096) % 256, 9)].reshape(64, 64)
    assert differs(written(palette(bits, data, count=10, segmented=True)), expected) <= 0.6


def test_palette_of_more_than_256_entries_of_8_bits() -> None:
    dataset = palette(8, (np.arange(4096) // 16).astype(np.uint8).tobytes(), count=4096)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelData = 16, 12, 11, RAMP.tobytes()
    assert differs(written(dataset), RAMP // 16) == 0


@pytest.mark.parametrize("first", [0, 50, 200])
def test_values_outside_a_palette_take_its_first_and_last_entry(first: int) -> None:
    entries = np.arange(100, 150)
    dataset = palette(8, entries.astype(np.uint8).tobytes(), count=50, first=first)
    index = np.clip(np.arange(4096) % 256 - first, 0, 49)
    assert differs(written(dataset), entries[index].reshape(64, 64)) == 0


def test_negative_first_value_of_a_palette_of_signed_pixels() -> None:
    dataset = palette(8, (np.arange(4096) // 16).astype(np.uint8).tobytes(), count=4096)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 1
    dataset.PixelData = SIGNED_RAMP.tobytes()
    for colour in COLOURS:
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "SS", [4096, -2048, 8])
    assert differs(written(dataset), RAMP // 16) == 0


def test_table_reaches_below_zero_for_unsigned_values_of_32_bits() -> None:
    pixels = RAMP.astype(np.uint32) * 1000
    data = written(radiograph(pixels, 32, VOILUTSequence=[table(np.arange(4096), 12, first=-5)]))
    assert differs(data, np.minimum(pixels.astype(int) + 5, 4095) * (255 / 4095)) <= 0.6


def test_palette_that_is_missing_is_named() -> None:
    dataset = palette(8, bytes(range(256)))
    del dataset.GreenPaletteColorLookupTableData
    with pytest.raises(UnsupportedImage, match="lacks the palette"):
        decode(written(dataset))
