"""One image file: the right pixels, or a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from lpsgld.bnn.data import pictures
from lpsgld.bnn.data.pictures import PictureError

SIZE = (6, 4)  # width, height
ORIENTATION = 274  # the tag of EXIF and of TIFF


def stored(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str, colour, kind: str = "PNG", **options) -> bytes:
    return stored(Image.new(mode, SIZE, colour), kind, **options)


def array(value: float, kind: str) -> Image.Image:
    return Image.fromarray(np.full((4, 6), value, kind))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*pixel: int, size: tuple[int, int] = SIZE, more: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, of 1 to 4 channels; Pillow writes only those of one."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[len(pixel)]
    rows = b"".join(b"\0" + struct.pack(f">{len(pixel)}H", *pixel) * 6 for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, photometric: int = 1, signed: bool = False, order: str = "<") -> bytes:
    """An unpacked TIFF of pixels [H, W] or [H, W, C], of a kind that Pillow reads but does not write."""
    height, width, channels = (*pixels.shape, 1)[:3]
    bits = 8 * pixels.itemsize
    tags = {256: width, 257: height, 258: bits, 262: photometric, 277: channels, 278: height, 279: pixels.nbytes}
    tags |= {339: 1 + signed, 273: 0}
    end = 8 + 2 + 12 * len(tags) + 4
    tags[273] = end + 2 * channels
    entries = b""
    for tag, value in sorted(tags.items()):
        long = tag in (273, 279)
        if tag == 258 and channels > 1:
            entries += struct.pack(f"{order}HHII", tag, 3, channels, end)
        else:
            entries += struct.pack(f"{order}HHI{'I' if long else 'Hxx'}", tag, 4 if long else 3, 1, value)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return start + entries + bytes(4) + struct.pack(f"{order}{channels}H", *[bits] * channels) + pixels.tobytes()


def without_bytes(value) -> str:
    return "" if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (stored(array(1000, np.uint16)), 4),  # 1000·255/65535 = 3.89
        (stored(array(128, np.uint16)), 0),
        (stored(array(129, np.uint16)), 1),
        (stored(array(65535, np.uint16)), 255),
        (stored(array(1000, np.uint16), "TIFF"), 4),
        (stored(array(1000, np.uint16), "TIFF", compression="tiff_lzw"), 4),
        (tiff(np.full((4, 6), 1000, ">u2"), order=">"), 4),
        (b"P5\n6 4\n65535\n" + np.full((4, 6), 1000, ">u2").tobytes(), 4),
        (b"P5\n6 4\n15\n" + bytes([5]) * 24, 85),
        (plain("1", 1), 255),
        (plain("L", 77, "GIF"), (77, 77, 77)),  # with a palette
        (plain("LA", (200, 255)), 200),
        (tiff(np.full((4, 6), 100, np.uint8), photometric=0), 155),  # white is zero
        (png(1000, 65535, 200), (4, 255, 1)),  # the higher bytes alone are (3, 255, 0)
        (png(1000, 65535, 200, 65535), (4, 255, 1)),
        (tiff(np.full((4, 6, 3), (1000, 65535, 200), "<u2"), photometric=2), (4, 255, 1)),
        (tiff(np.full((4, 6, 3), (1000, 65535, 200), ">u2"), photometric=2, order=">"), (4, 255, 1)),
        (b"P6\n6 4\n65535\n" + np.full((4, 6, 3), 1000, ">u2").tobytes(), (4, 4, 4)),
        (plain("RGBA", (200, 100, 50, 255)), (200, 100, 50)),
        (plain("CMYK", (255, 0, 0, 0), "TIFF"), (0, 255, 255)),
        (plain("YCbCr", (128, 128, 128), "TIFF"), (128, 128, 128)),
    ],
    ids=without_bytes,
)
def test_pixels_are_those_that_the_file_means(data, expected):
    pixels = pictures.decode(data)
    assert pixels.dtype == np.uint8 and pixels.shape == ((4, 6) if isinstance(expected, int) else (4, 6, 3))
    assert (pixels == expected).all()


def several(kind: str, **options) -> bytes:
    return stored(Image.new("RGB", SIZE, "red"), kind, save_all=True, append_images=[Image.new("RGB", SIZE)], **options)


TRANSPARENT, UNKNOWN = "transparent pixels", "black and white are not known"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (stored(array(0.5, np.float32), "TIFF"), UNKNOWN),
        (stored(array(1000, np.int32), "TIFF"), UNKNOWN),
        (tiff(np.full((4, 6), 1000, "<u4")), UNKNOWN),
        (tiff(np.full((4, 6), -100, np.int8), signed=True), UNKNOWN),
        (tiff(np.full((4, 6), -100, "<i2"), signed=True), UNKNOWN),
        (b"Pf\n6 4\n-1.0\n" + np.full((4, 6), 0.5, "<f4").tobytes(), UNKNOWN),
        (plain("LAB", (128, 0, 0), "TIFF"), UNKNOWN),
        (tiff(np.full((4, 6), 1000, "<u2"), photometric=0), "16 bits a channel, and transparent, inverted"),
        (tiff(np.full((4, 6, 4), 1000, "<u2"), photometric=5), "16 bits a channel"),
        (png(1000, 65535), "16 bits a channel"),
        (png(1000, more=chunk(b"tRNS", b"\3\xe8")), "16 bits a channel"),
        (png(1000, 1000, 1000, 0), TRANSPARENT),
        (plain("RGBA", (200, 100, 50, 0)), TRANSPARENT),
        (plain("RGBA", (200, 100, 50, 254)), TRANSPARENT),
        (plain("LA", (200, 0)), TRANSPARENT),
        (stored(Image.new("RGB", SIZE, "red").quantize(2), transparency=0), TRANSPARENT),
        (plain("L", 9, transparency=9), TRANSPARENT),
        (plain("RGB", (9, 8, 7), transparency=(9, 8, 7)), TRANSPARENT),
        (several("GIF"), "has 2 frames. Keep one"),
        (several("TIFF"), "has 2 frames"),
        (several("PNG"), "has 2 frames"),
        (several("WEBP", lossless=True), "has 2 frames"),
        (plain("RGB", "red", "EPS"), "no image format is known"),
        (b"", "no image format is known"),
    ],
    ids=without_bytes,
)
def test_what_may_be_meant_otherwise_is_refused(data, reason):
    with pytest.raises(PictureError, match=reason):
        pictures.decode(data)


def test_a_transparent_colour_that_no_pixel_has_is_harmless():
    assert (pictures.decode(plain("L", 9, transparency=10)) == 9).all()


def test_of_a_camera_file_with_further_views_the_first_is_the_picture():
    pixels = pictures.decode(several("MPO", quality=100))
    assert pixels.shape == (4, 6, 3) and np.abs(pixels.astype(int) - (255, 0, 0)).max() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_image_is_upright(kind):
    """Orientation 6: the camera was turned, and the top row belongs to the right."""
    pixels = np.zeros((16, 24), np.uint8)
    pixels[:8] = 200
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options = {"tiffinfo": {ORIENTATION: 6}} if kind == "TIFF" else {"exif": exif}
    turned = pictures.decode(stored(Image.fromarray(pixels), kind, **options), size=(16, 24))
    assert turned.shape == (24, 16) and turned[:, 8:].min() > 190 and turned[:, :8].max() < 10


def test_exif_data_that_nobody_can_read_turn_nothing():
    broken = plain("L", 9, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff rubbish")
    assert pictures.decode(broken).shape == (4, 6)


NOISE = Image.fromarray(np.random.default_rng(0).integers(256, size=(48, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_cut_image_is_refused_whatever_pillow_is_told(monkeypatch, kind, part):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = stored(NOISE, kind)
    with pytest.raises(PictureError, match="is broken"):
        pictures.decode(data[: int(part * len(data))])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # the setting is the user's


def test_a_png_whose_bits_were_changed_is_refused():
    data = bytearray(stored(NOISE, compress_level=0))
    data[3000] ^= 1
    with pytest.raises(PictureError, match="is broken"):
        pictures.decode(bytes(data))


@pytest.mark.parametrize("size", [(60000, 60000), (10000, 10000), (9000, 9000), (2**31 - 1, 1)])
def test_what_a_header_claims_is_not_unpacked(monkeypatch, size):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("unpacked"))
    with pytest.raises(PictureError, match="too large|at most 33,554,432"):
        pictures.decode(png(0, 0, 0, size=size))


def test_another_size_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("unpacked"))
    with pytest.raises(PictureError, match="is 6x4 pixels; all images must have one size, and the first has 6x5"):
        pictures.decode(plain("L", 1), size=(6, 5))


def test_an_image_that_only_lies_on_its_side_has_another_size():
    with pytest.raises(PictureError, match="is 6x4 pixels; all images must have one size, and the first has 4x6"):
        pictures.decode(plain("L", 1), size=(4, 6))
