"""Raster files of every kind that Pillow's and tifffile's writers make, and BMPs and PNGs that neither can.

Each comes with what was written into it, as it is to be shown, unless the format loses something.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

HEIGHT, WIDTH = 64, 80


@dataclass(frozen=True)
class Made:
    """A file, and what it shows: (H, W, 3) uint8; None where only another reader can say."""

    name: str
    data: bytes
    shown: Pixels | None = None


def picture() -> Pixels:
    """(64, 80, 4) uint8: red, green, blue and opacity, no two of which, no two sides and no two quarters are alike."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = x * 255 // (WIDTH - 1), y * 255 // (HEIGHT - 1)
    blue = (x * 3 + y * 5 + x * y // 7) % 256
    opacity = (255 - (x * 2 + y) % 256) * (y > HEIGHT // 3) + 128 * (y <= HEIGHT // 3)
    return np.dstack([red, green, blue, opacity]).astype(np.uint8)


PICTURE = picture()
RGB, ALPHA = np.ascontiguousarray(PICTURE[..., :3]), np.ascontiguousarray(PICTURE[..., 3])
GREY = np.ascontiguousarray(((PICTURE[..., 0].astype(int) + PICTURE[..., 1]) // 2).astype(np.uint8))


def colour(values: NDArray[Any]) -> Pixels:
    """(H, W) or (H, W, 3) of 0 to 255, in any type, as (H, W, 3) uint8."""
    values = np.rint(values).astype(np.uint8)
    return np.dstack([values] * 3) if values.ndim == 2 else values


def over_black(values: NDArray[Any], opacity: NDArray[Any]) -> Pixels:
    """Colours with an opacity of 0 to 255 over black."""
    share = opacity / 255.0
    return colour(values * (share if values.ndim == 2 else share[..., None]))


def spread(values: NDArray[Any]) -> NDArray[np.float64]:
    """Least to greatest as 0 to 255."""
    numbers = values.astype(np.float64)
    return (numbers - numbers.min()) / (numbers.max() - numbers.min()) * 255


def levels(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """8-bit values as those of ``bits`` bits that come closest."""
    return np.rint(values / 255.0 * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def all_made() -> Iterator[Made]:
    """Every file, a few hundred."""
    yield from pngs()
    yield from pngs_by_pillow()
    yield from lossy_by_pillow()
    yield from webps()
    yield from bmps()
    yield from tiffs_by_pillow()
    yield from tiffs_by_tifffile()
    yield from tiffs_of_few_or_odd_bits()
    yield from jpegs_by_opencv()


# PNG ------------------------------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Frame a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples: NDArray[Any], bits: int) -> bytes:
    """(H, W) or (H, W, S) samples in rows of whole bytes, the most significant bit first."""
    rows = samples.reshape(len(samples), -1)
    if bits == 16:
        return rows.astype(">u2").tobytes()
    if bits == 8:
        return rows.astype(np.uint8).tobytes()
    planes = rows[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(planes.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def png(
    samples: NDArray[Any], bits: int, colour_type: int, *chunks: tuple[bytes, bytes], interlaced: bool = False
) -> bytes:
    """Write a PNG of samples as they are, rows unfiltered."""
    height, width = samples.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, right in passes:
        part = samples[top::down, left::right]
        if part.size:
            bytes_of_rows = np.frombuffer(packed(part, bits), np.uint8).reshape(len(part), -1)
            rows += np.pad(bytes_of_rows, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    body = b"".join(png_chunk(*chunk) for chunk in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + body
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def pngs() -> Iterator[Made]:
    """Every bit depth and colour type, with and without a transparent colour, in rows and interlaced."""
    for interlaced, bits, clear in itertools.product([False, True], [1, 2, 4, 8, 16], [False, True]):
        form = f"{bits} bit{', tRNS' * clear}{', interlaced' * interlaced}"
        # 16-bit greys come twice as 8-bit ones, so that the colour made transparent differs from its neighbours.
        grey = GREY.astype(np.uint16) * 257 if bits == 16 else levels(GREY, bits)
        chosen = int(grey[20, 70])
        shown = spread(grey) if bits == 16 else grey * 255.0 / (2**bits - 1)
        chunks = [(b"tRNS", struct.pack(">H", chosen))] if clear else []
        opacity = np.where(clear & (grey == chosen), 0, 255)
        yield Made(f"PNG grey {form}", png(grey, bits, 0, *chunks, interlaced=interlaced), over_black(shown, opacity))
        if bits >= 8:
            deep = RGB.astype(np.uint16) * 257 if bits == 16 else RGB
            one = deep[20, 70]
            chunks = [(b"tRNS", struct.pack(">3H", *one.tolist()))] if clear else []
            opacity = np.where(clear & (deep == one).all(axis=2), 0, 255)
            yield Made(
                f"PNG colour {form}", png(deep, bits, 2, *chunks, interlaced=interlaced), over_black(RGB, opacity)
            )
        if bits <= 8:
            index = GREY >> (8 - bits)
            palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
            chunks = [(b"PLTE", palette.tobytes())]
            alphas = np.full(2**bits, 255, np.uint8)
            if clear:
                alphas[: 2**bits // 2] = np.arange(2**bits // 2) * 9 % 256
                chunks.append((b"tRNS", alphas[: 2**bits // 2].tobytes()))
            shown = over_black(palette[index], alphas[index])
            yield Made(f"PNG palette {form}", png(index, bits, 3, *chunks, interlaced=interlaced), shown)
        if bits >= 8 and not clear:
            scale = 257 if bits == 16 else 1
            grey_alpha = np.dstack([GREY, ALPHA]).astype(np.uint16) * scale
            grey_shown = over_black(spread(GREY) if bits == 16 else GREY, ALPHA)
            yield Made(f"PNG grey with opacity {form}", png(grey_alpha, bits, 4, interlaced=interlaced), grey_shown)
            full = PICTURE.astype(np.uint16) * scale
            yield Made(
                f"PNG colour with opacity {form}", png(full, bits, 6, interlaced=interlaced), over_black(RGB, ALPHA)
            )


MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


def in_mode(mode: str) -> tuple[Image.Image, Pixels]:
    """The picture in one of Pillow's modes, and how it is shown."""
    whole = Image.fromarray(PICTURE)
    if mode == "1":
        bilevel = Image.fromarray(GREY > 100)
        return bilevel, colour((GREY > 100) * 255)
    if mode in ("I;16", "I;16B"):
        stored = (GREY.astype(np.uint16) * 13 + 90).astype("<u2" if mode == "I;16" else ">u2")
        return Image.frombytes(mode, (WIDTH, HEIGHT), stored.tobytes()), colour(spread(GREY))
    if mode in ("I", "F"):
        return Image.fromarray(GREY.astype(np.int32) * 13 + 90).convert(mode), colour(spread(GREY))
    if mode in ("LA", "PA"):
        base = Image.fromarray(GREY)
        base = base.quantize(64) if mode == "PA" else base
        shown = over_black(np.asarray(base.convert("RGB")), ALPHA)
        if mode == "LA":
            return Image.merge("LA", [base, Image.fromarray(ALPHA)]), shown
        both = base.convert("PA")
        both.putalpha(Image.fromarray(ALPHA))
        return both, shown
    if mode == "L":
        return Image.fromarray(GREY), colour(GREY)
    if mode == "P":
        few = Image.fromarray(RGB).quantize(200)
        return few, np.asarray(few.convert("RGB"))
    if mode == "RGBA":
        return whole, over_black(RGB, ALPHA)
    converted = Image.fromarray(RGB).convert(mode)
    return converted, np.asarray(converted.convert("RGB"))


def saved(image: Image.Image, format_: str, **options: Any) -> bytes:
    """Write with Pillow."""
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    return {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 6: pixels[:, ::-1], 7: pixels[::-1, ::-1],
        8: pixels[::-1],
    }.get(orientation, pixels)  # fmt: skip


def exif(orientation: int) -> Image.Exif:
    """An EXIF block that holds an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def pngs_by_pillow() -> Iterator[Made]:
    """Modes, palettes of few bits, transparency, orientation."""
    for mode in (*MODES, "I;16"):
        image, shown = in_mode(mode)
        for name, options in {"": {}, " optimised": {"optimize": True}, " stored": {"compress_level": 0}}.items():
            yield Made(f"PNG by Pillow {mode}{name}", saved(image, "PNG", **options), shown)
    grey = Image.fromarray(GREY)
    for value in (0, 100, 255):
        shown = colour(np.where(value == GREY, 0, GREY))
        yield Made(f"PNG by Pillow L, transparency={value}", saved(grey, "PNG", transparency=value), shown)
    for bits in (1, 2, 4, 8):
        few = Image.fromarray(RGB).quantize(2**bits)
        shown = np.asarray(few.convert("RGB"))
        yield Made(f"PNG by Pillow P, bits={bits}", saved(few, "PNG", bits=bits), shown)
        clear = np.where(np.asarray(few)[..., None] == 1, 0, shown)
        yield Made(f"PNG by Pillow P, bits={bits}, transparency", saved(few, "PNG", bits=bits, transparency=1), clear)
    for orientation in range(1, 9):
        data = saved(Image.fromarray(RGB), "PNG", exif=exif(orientation))
        yield Made(f"PNG by Pillow, orientation {orientation}", data, turned(RGB, orientation))


def lossy_by_pillow() -> Iterator[Made]:
    """JPEG: subsampling, progressive or not, restarts, colour spaces, qualities, orientations, no end marker."""
    for mode, quality, subsampling, progressive in itertools.product(
        ["L", "RGB", "CMYK"], [30, 95], [0, 1, 2], [False, True]
    ):
        image, _ = in_mode(mode)
        options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
        yield Made(f"JPEG {mode} {options}", saved(image, "JPEG", **options))
    rgb = Image.fromarray(RGB)
    for options in ({"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {"keep_rgb": True}, {"optimize": True}):
        for progressive in (False, True):
            data = saved(rgb, "JPEG", progressive=progressive, **options)
            yield Made(f"JPEG {options} progressive={progressive}", data)
            yield Made(f"JPEG {options} progressive={progressive}, no end marker", data[:-2])
    for orientation in range(1, 9):
        yield Made(f"JPEG orientation {orientation}", saved(rgb, "JPEG", exif=exif(orientation)))


def jpegs_by_opencv() -> Iterator[Made]:
    """What OpenCV's own writers add: deep PNG and TIFF, luma quality, JPEG sampling."""
    for suffix in ("PNG", "TIFF"):
        deep = np.ascontiguousarray(PICTURE[..., [2, 1, 0, 3]]).astype(np.uint16) * 257
        # In its TIFF the fourth sample is not said to be an opacity.
        for name, stored, shown in (
            ("RGB", deep[..., :3], RGB),
            ("RGBA", deep, RGB if suffix == "TIFF" else over_black(RGB, ALPHA)),
        ):
            data = cv2.imencode(f".{suffix.lower()}", stored)[1].tobytes()
            yield Made(f"{suffix} by OpenCV, 16 bit {name}", data, shown)


def webps() -> Iterator[Made]:
    """WebP: modes, lossless, lossy, orientation."""
    for mode in MODES:
        image, shown = in_mode(mode)
        yield Made(f"WebP {mode} lossless", saved(image, "WEBP", lossless=True, exact=True), shown)
        for options in ({"quality": 30}, {"quality": 95, "alpha_quality": 50}, {"method": 6}):
            yield Made(f"WebP {mode} {options}", saved(image, "WEBP", **options))
    for orientation in range(1, 9):
        data = saved(Image.fromarray(RGB), "WEBP", lossless=True, exif=exif(orientation))
        yield Made(f"WebP orientation {orientation}", data, turned(RGB, orientation))


# BMP ------------------------------------------------------------------------------------------------------------------

BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
MASKS_16 = {
    "565": (0xF800, 0x07E0, 0x001F, 0),
    "555": (0x7C00, 0x03E0, 0x001F, 0),
    "1555": (0x7C00, 0x03E0, 0x001F, 0x8000),
    "4444": (0x0F00, 0x00F0, 0x000F, 0xF000),
    "231": (0x0060, 0x001C, 0x0003, 0),
}
MASKS_32 = {
    "BGRX": (0x00FF0000, 0x0000FF00, 0x000000FF, 0),
    "BGRA": (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000),
    "RGBA": (0x000000FF, 0x0000FF00, 0x00FF0000, 0xFF000000),
    "XBGR": (0xFF000000, 0x00FF0000, 0x0000FF00, 0),
    "ABGR": (0xFF000000, 0x00FF0000, 0x0000FF00, 0x000000FF),
    "10 bit": (0x3FF00000, 0x000FFC00, 0x000003FF, 0),
    "10 bit and opacity": (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000),
    "11-11-10": (0xFFE00000, 0x001FFC00, 0x000003FF, 0),
    "8-4-12": (0xFFF00000, 0x0000F000, 0x000000FF, 0),
}


def bmp(
    body: bytes,
    bits: int,
    *,
    header: int = 40,
    palette: Pixels | None = None,
    masks: tuple[int, int, int, int] | None = None,
    compression: int | None = None,
    top_down: bool = False,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> bytes:
    """Write a BMP of stored rows. ``palette`` is (N, 3) RGB; masks stand behind a header too short to hold them."""
    height, width = size
    compression = (3 if masks else 0) if compression is None else compression
    stored_height = -height if top_down else height
    if header == 12:
        fields = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        count = len(palette) if palette is not None else 0
        fields = struct.pack(
            "<IiiHHIIiiII", header, width, stored_height, 1, bits, compression, len(body), 0, 0, count, 0
        )
    behind = b""
    if masks:
        listed = struct.pack("<4I", *masks)
        if header == 40:
            # Compression 6 (ALPHABITFIELDS) has four of them.
            behind = listed if masks[3] else listed[:12]
            if masks[3]:
                fields = fields[:16] + struct.pack("<I", 6) + fields[20:]
        else:
            fields += listed
    fields = fields[:header] + bytes(max(0, header - len(fields)))
    if palette is not None:
        entries = palette[:, ::-1]
        entries = entries if header == 12 else np.hstack([entries, np.zeros((len(entries), 1), np.uint8)])
        behind += entries.tobytes()
    start = 14 + header + len(behind)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + fields + behind + body


def bmp_rows(values: NDArray[Any], bits: int, top_down: bool = False) -> bytes:
    """Rows of whole 32-bit words, from the bottom unless ``top_down``."""
    values = values if top_down else values[::-1]
    stored = packed(values, bits) if bits <= 8 else values.tobytes()
    rows = np.frombuffer(stored, np.uint8).reshape(len(values), -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()


def masked(channels: NDArray[Any], masks: tuple[int, int, int, int], bits: int) -> tuple[NDArray[Any], Pixels]:
    """Put (H, W, 4) channels into the bits of masks: the words, and how the picture is shown."""
    words = np.zeros(channels.shape[:2], np.uint64)
    shown = []
    for channel, mask in zip(np.moveaxis(channels, -1, 0), masks, strict=True):
        most = mask >> (mask & -mask).bit_length() - 1 if mask else 0
        value = np.rint(channel / 255.0 * most).astype(np.uint64)
        words |= value * np.uint64(mask & -mask)
        shown.append(value * 255.0 / most if most else np.full(channel.shape, 255.0))
    return words.astype("<u4" if bits == 32 else "<u2"), over_black(np.dstack(shown[:3]), shown[3])


def rle(index: NDArray[Any], bits: int) -> bytes:
    """Rows in BMP's run-length code, in turns as runs and as literal values."""
    out = bytearray()
    for number, row in enumerate(index[::-1]):
        at = 0
        while at < len(row):
            run = 1
            while run < 255 and at + run < len(row) and row[at + run] == row[at]:
                run += 1
            literal = row[at : at + 5]
            if number % 2 and len(literal) >= 3:
                body = packed(np.append(literal, 0)[None] if bits == 4 and len(literal) % 2 else literal[None], bits)
                out += bytes([0, len(literal)]) + body + bytes(len(body) % 2)
                at += len(literal)
            else:
                value = int(row[at])
                out += bytes([run, value if bits == 8 else value * 17])
                at += run
        out += b"\0\0"
    return bytes(out + b"\0\1")


def bmps() -> Iterator[Made]:
    """Pillow's, and every header with every depth, every set of masks, top down and bottom up, RLE."""
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        image, shown = in_mode(mode)
        # Pillow writes a fourth byte, and a header that has no opacity.
        yield Made(f"BMP by Pillow {mode}", saved(image, "BMP"), shown if mode != "RGBA" else None)
    for header, top_down in itertools.product(BMP_HEADERS, [False, True]):
        if header == 12 and top_down:
            continue
        form = f"header {header}{', top down' * top_down}"
        for bits in (1, 2, 4, 8):
            index = GREY >> (8 - bits)
            palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
            body = bmp_rows(index, bits, top_down)
            data = bmp(body, bits, header=header, palette=palette, top_down=top_down)
            yield Made(f"BMP {bits} bit, {form}", data, palette[index])
        data = bmp(bmp_rows(RGB[..., ::-1], 24, top_down), 24, header=header, top_down=top_down)
        yield Made(f"BMP 24 bit, {form}", data, RGB)
        words, shown = masked(PICTURE, MASKS_16["555"], 16)
        data = bmp(bmp_rows(words, 16, top_down), 16, header=header, top_down=top_down)
        yield Made(f"BMP 16 bit without masks, {form}", data, shown)
        words, shown = masked(PICTURE, MASKS_32["BGRX"], 32)
        data = bmp(bmp_rows(words, 32, top_down), 32, header=header, top_down=top_down)
        yield Made(f"BMP 32 bit without masks, {form}", data, shown)
        if header in (12, 16, 64):
            continue
        for bits, name, masks in (
            *((16, name, masks) for name, masks in MASKS_16.items()),
            *((32, name, masks) for name, masks in MASKS_32.items()),
        ):
            if header == 52 and masks[3]:
                continue
            words, shown = masked(PICTURE, masks, bits)
            data = bmp(bmp_rows(words, bits, top_down), bits, header=header, masks=masks, top_down=top_down)
            yield Made(f"BMP {bits} bit {name}, {form}", data, shown)
        if not top_down:
            for bits in (4, 8):
                index = GREY >> (8 - bits)
                palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
                data = bmp(rle(index, bits), bits, header=header, palette=palette, compression=1 if bits == 8 else 2)
                yield Made(f"BMP RLE{bits}, {form}", data, palette[index])


# TIFF -----------------------------------------------------------------------------------------------------------------


def tiffs_by_pillow() -> Iterator[Made]:
    """Pillow's modes and compressions, orientations, BigTIFF."""
    compressions = (None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "lzma", "zstd", "jpeg")
    for mode in ("1", "L", "LA", "P", "PA", "I;16", "I;16B", "I", "F", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"):
        image, shown = in_mode(mode)
        for compression in compressions:
            if compression == "jpeg" and mode not in ("L", "RGB", "CMYK", "YCbCr", "LAB"):
                continue
            data = saved(image, "TIFF", compression=compression)
            known = compression != "jpeg" and mode != "LAB"
            yield Made(f"TIFF by Pillow {mode} {compression}", data, shown if known else None)
        yield Made(
            f"TIFF by Pillow {mode}, BigTIFF", saved(image, "TIFF", big_tiff=True), shown if mode != "LAB" else None
        )
        for rows in (1, 7):
            data = saved(image, "TIFF", tiffinfo={278: rows}, strip_size=rows * 80)
            yield Made(f"TIFF by Pillow {mode}, {rows} rows a strip", data, shown if mode != "LAB" else None)
    bilevel, shown = in_mode("1")
    for compression in ("tiff_ccitt", "group3", "group4", "tiff_raw_16"):
        data = saved(bilevel, "TIFF", compression=compression)
        yield Made(f"TIFF by Pillow 1 {compression}", data, shown)
    for mode, orientation in itertools.product(
        ["1", "L", "P", "I;16", "F", "RGB", "RGBA", "CMYK", "YCbCr"], range(1, 9)
    ):
        image, shown = in_mode(mode)
        data = saved(image, "TIFF", exif=exif(orientation))
        yield Made(f"TIFF by Pillow {mode}, orientation {orientation}", data, turned(shown, orientation))


LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "tiles of 16": {"tile": (16, 16)},
    "tiles of 240": {"tile": (240, 240)},
}


def tiff_written(array: NDArray[Any], *, byteorder: str = "<", bigtiff: bool = False, **options: Any) -> bytes:
    """Write one page with tifffile."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, byteorder=byteorder, bigtiff=bigtiff, metadata=None, **options)
    return stream.getvalue()


def typed(values: NDArray[Any], dtype: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """8-bit values over the range of a type, and how they are shown: deep grey and all that is signed is spread."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return values > 100, (values > 100) * 255
    if kind.kind == "f":
        return (values / 255.0 - 0.25).astype(kind), spread(values)
    bits = kind.itemsize * 8
    # Within the range, so that what is spread differs from what is divided.
    if kind.kind == "i":
        return (values.astype(np.int64) * (2 ** (bits - 8)) // 2 - 2 ** (bits - 2)).astype(kind), spread(
            values // 2 if bits == 8 else values
        )
    if values.ndim == 2:
        return (values if bits == 8 else values.astype(np.uint64) * 2 ** (bits - 10)).astype(
            kind
        ), values if bits == 8 else spread(values)
    return (values.astype(np.uint64) * ((2**bits - 1) // 255)).astype(kind), values


DTYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")


def tiff_kinds() -> Iterator[tuple[str, NDArray[Any], Pixels, dict[str, Any]]]:
    """Name, array (samples last), what it shows, options of tifffile."""
    for dtype in ("?", *DTYPES):
        values, shown = typed(GREY, dtype)
        yield f"grey {dtype}", values, colour(shown), {"photometric": "minisblack"}
        yield f"grey {dtype}, white is zero", values, colour(255 - shown), {"photometric": "miniswhite"}
    for dtype in DTYPES:
        values, shown = typed(RGB, dtype)
        yield f"RGB {dtype}", values, colour(shown), {"photometric": "rgb"}
    for dtype, scale in (("u1", 1), ("u2", 257)):
        grey_shown = GREY if scale == 1 else spread(GREY)
        for base, plain, photometric in ((GREY, grey_shown, "minisblack"), (RGB, RGB, "rgb")):
            array = (np.dstack([base, ALPHA]).astype(np.uint32) * scale).astype(dtype)
            name = f"{photometric} {dtype}"
            unassociated = {"photometric": photometric, "extrasamples": ["unassalpha"]}
            yield f"{name} with opacity", array, over_black(plain, ALPHA), unassociated
            yield (
                f"{name} with a fourth sample",
                array,
                colour(plain),
                {**unassociated, "extrasamples": ["unspecified"]},
            )
            if photometric == "rgb" or scale == 1:
                applied = over_black(base, ALPHA)[..., : 1 if base.ndim == 2 else 3]
                array = (np.dstack([applied, ALPHA]).astype(np.uint32) * scale).astype(dtype)
                yield (
                    f"{name} with opacity applied",
                    array,
                    colour(np.squeeze(applied)),
                    {**unassociated, "extrasamples": ["assocalpha"]},
                )
        inks = 255 - np.dstack([RGB, ALPHA])
        shown = over_black(RGB, ALPHA)
        yield f"CMYK {dtype}", (inks.astype(np.uint32) * scale).astype(dtype), shown, {"photometric": "separated"}
    for bits in (8, 16):
        index = GREY if bits == 8 else GREY.astype(np.uint16)
        palette = np.random.default_rng(bits).integers(0, 256, (3, 2**bits)).astype(np.uint16) * 257
        options = {"photometric": "palette", "colormap": palette}
        yield f"palette {bits} bit", index, (palette.T // 257).astype(np.uint8)[index], options


def tiff_plain(
    pieces: list[bytes], tags: dict[int, int | tuple[int, ...]], *, tile: int = 0, rows: int = HEIGHT, order: str = "<"
) -> bytes:
    """Write a TIFF of given strips, or tiles, and no more tags than these, all of them LONGs."""
    starts = tuple(8 + sum(map(len, pieces[:number])) for number in range(len(pieces)))
    sizes = tuple(map(len, pieces))
    where = {322: tile, 323: tile, 324: starts, 325: sizes} if tile else {273: starts, 278: rows, 279: sizes}
    every = {256: WIDTH, 257: HEIGHT, 259: 1, **where, **tags}
    entries, far = b"", b""
    behind = 8 + sum(sizes) + 2 + 12 * len(every) + 4
    for tag, value in sorted(every.items()):
        values = value if isinstance(value, tuple) else (value,)
        stored = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            stored, far = struct.pack(f"{order}I", behind + len(far)), far + stored
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + stored
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + sum(sizes))
    return head + b"".join(pieces) + struct.pack(f"{order}H", len(every)) + entries + bytes(4) + far


def cut_up(plane: NDArray[Any], bits: int, rows: int, tile: int) -> list[bytes]:
    """Cut (H, W) or (H, W, 3) samples into strips of ``rows``, or into square tiles, and pack them."""
    pieces = []
    for top, left in itertools.product(range(0, HEIGHT, rows), range(0, WIDTH, tile or WIDTH)):
        part = plane[top : top + rows, left : left + (tile or WIDTH)]
        if tile:
            part = np.pad(part, [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)][: part.ndim])
        pieces.append(packed(part, bits))
    return pieces


def tiffs_of_few_or_odd_bits() -> Iterator[Made]:
    """Bits that fill no whole bytes, which tifffile does not write in every layout."""
    layouts = {"one strip": (HEIGHT, 0), "strips": (7, 0), "tiles of 16": (16, 16), "tiles of 240": (240, 240)}
    palette = np.random.default_rng(3).integers(0, 256, (3, 16))
    for bits, (layout, (rows, tile)), order in itertools.product((1, 2, 4, 6, 10, 12, 14), layouts.items(), "<>"):
        grey, deep = levels(GREY, bits), levels(RGB, bits)
        most = 2**bits - 1
        grey_shown = spread(grey) if bits > 8 else grey * 255.0 / most
        kinds = [
            ("black is zero", [grey], 1, colour(grey_shown)),
            ("white is zero", [grey], 0, colour(255 - grey_shown)),
        ]
        if bits > 1:
            deep_shown = colour(deep * 255.0 / most)
            kinds += [("RGB", [deep], 2, deep_shown), ("RGB in planes", list(np.moveaxis(deep, -1, 0)), 2, deep_shown)]
        if bits == 4:
            kinds.append(("palette", [grey], 3, palette.T.astype(np.uint8)[grey]))
        for name, planes, photometric, shown in kinds:
            samples = 3 if photometric == 2 else 1
            tags: dict[int, int | tuple[int, ...]] = {258: (bits,) * samples, 262: photometric, 277: samples}
            tags[284] = 2 if len(planes) > 1 else 1
            if photometric == 3:
                tags[320] = tuple((palette * 257).reshape(-1).tolist())
            pieces = [piece for plane in planes for piece in cut_up(plane, bits, rows, tile)]
            data = tiff_plain(pieces, tags, tile=tile, rows=rows, order=order)
            yield Made(f"TIFF {bits} bit {name}, {layout}, {order}", data, shown)


def tiffs_by_tifffile() -> Iterator[Made]:
    """Kinds by layouts by planes; and compressions, predictors, byte orders, BigTIFF."""
    for (name, array, shown, options), layout in itertools.product(tiff_kinds(), LAYOUTS):
        for planes in ("contig", "separate") if array.ndim == 3 else (None,):
            stored = np.moveaxis(array, -1, 0) if planes == "separate" else array
            more: dict[str, Any] = {"planarconfig": planes} if planes else {}
            data = tiff_written(stored, **options, **LAYOUTS[layout], **more)
            yield Made(f"TIFF {name}, {planes}, {layout}", data, shown)
    some = {
        "grey u1",
        "grey u2",
        "grey f4",
        "RGB u1",
        "RGB u2",
        "RGB f4",
        "rgb u1 with opacity",
        "grey ?",
        "palette 8 bit",
        "CMYK u1",
    }
    kinds = [kind for kind in tiff_kinds() if kind[0] in some]
    for (name, array, shown, options), compression, predictor in itertools.product(
        kinds, ["zlib", "lzw", "packbits", "zstd", "lzma"], [False, True]
    ):
        try:
            data = tiff_written(array, **options, rowsperstrip=11, compression=compression, predictor=predictor)
        except (NotImplementedError, ValueError, KeyError):
            continue
        yield Made(f"TIFF {name}, {compression}{', predictor' * predictor}", data, shown)
    for (name, array, shown, options), compression, tile in itertools.product(
        kinds, ["jpeg", "webp", "png", "jpeg2000", "jpegxl"], [None, (32, 32)]
    ):
        if array.dtype != np.uint8 or "palette" in name:
            continue
        try:
            level: dict[str, Any] = {"compressionargs": {"level": 90}} if compression == "jpeg" else {}
            if compression == "webp":
                level = {"compressionargs": {"lossless": True}}
            data = tiff_written(array, **options, tile=tile, compression=compression, **level)
        except (NotImplementedError, ValueError, KeyError, RuntimeError):
            continue
        yield Made(f"TIFF {name}, {compression}, tile {tile}", data, shown if compression != "jpeg" else None)
    for (name, array, shown, options), order, big in itertools.product(kinds, "<>", [False, True]):
        data = tiff_written(array, byteorder=order, bigtiff=big, **options)
        yield Made(f"TIFF {name}, {order}, big={big}", data, shown)
