"""The bytes of an image file as pixels of 8 bits, or the reason why they cannot be had without a guess."""

from __future__ import annotations

import io
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
MOST_PIXELS = 2**25  # of one image; Pillow itself stops at five times as many

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM")  # no PostScript, which is a program
_GREY, _GREY_OF_16_BITS = ("1", "L", "LA"), ("I;16", "I;16L", "I;16B", "I;16N")
_COLOURED = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")
_BITS, _ZERO_IS, _SAMPLES = 258, 262, 339  # tags of TIFF
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_SAVE = "Save it in RGB or grey with 8 bits a channel"


class PictureError(ValueError):
    """An image that is broken, or that could be read in more than one way. The message follows on the file's name."""


def decode(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of an image, upright as viewers show it: uint8, [H, W] if it is stored in grey, else [H, W, 3].

    16 bits a channel are rounded to 8: v·255/65535. Floats, 32 bits, several frames and transparent pixels leave open
    what is meant, and are refused. size: (width, height) that it must have; None for any up to MOST_PIXELS. Raises
    PictureError, for a wrong size before pixels are unpacked.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError  # training on other images does without

    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]  # not every Pillow knows AVIF
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=formats) as image:
            _require_size(image.size, size, turned=True)
            depth = _depth(image)
            if image.format == "PNG":  # unpacking does not compare its checksums
                Image.open(io.BytesIO(data), formats=formats).verify()
            pixels = _upright(image)
            if depth == 16 and pixels.dtype == np.uint8:  # Pillow has kept the higher byte of a colour
                with Image.open(io.BytesIO(data), formats=formats) as lower:
                    lower.tile = [(*tile[:3], _other_byte(tile[3])) for tile in lower.tile]
                    pixels = pixels * 256.0 + _upright(lower)
        _require_size(pixels.shape[1::-1], size)
        return pixels if depth == 8 else np.rint(pixels / 257).astype(np.uint8)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("is broken (no image format is known for it). Replace or remove it") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"is too large ({error}). Replace or remove it") from None
    except Exception as error:  # a decoder may fail in any way on bytes that nobody foresaw
        raise PictureError(f"is broken ({error or type(error).__name__}). Replace or remove it") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _require_size(found: tuple[int, int], size: tuple[int, int] | None, turned: bool = False) -> None:
    """turned: the camera may have lain on its side, so that width and height change places."""
    told = f"is {found[0]}x{found[1]} pixels"
    if found[0] * found[1] > MOST_PIXELS:
        raise PictureError(f"{told}, but at most {MOST_PIXELS:,} in all are read. Make the images smaller")
    if size and found != size and not (turned and found == size[::-1]):
        raise PictureError(f"{told}; all images must have one size, and the first has {size[0]}x{size[1]}")


def _depth(image: Image) -> int:
    """8 or 16 bits a channel. Raises PictureError for pixels that do not say how bright they are."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a JPEG file with further views, of which the first is the picture
        raise PictureError(f"has {frames} frames. Keep one of them")
    raw = str(image.tile[0][3]) if image.format in ("PNG", "TIFF") and image.tile else ""
    grey = image.mode in _GREY_OF_16_BITS or (image.mode == "I" and image.format in ("PNG", "PPM"))
    deep = grey or ";16" in raw
    tags = image.tag_v2 if image.format == "TIFF" else {}
    known = grey or image.mode in _GREY + _COLOURED
    if not known or set(tags.get(_SAMPLES, (1,))) != {1} or not set(tags.get(_BITS, (8,))) <= {1, 2, 4, 8, 16}:
        raise PictureError(f"has pixels of mode {image.mode}, whose black and white are not known. {_SAVE}")
    usual = grey or "RGB;16" in raw or "RGBA;16" in raw
    if deep and ("transparency" in image.info or tags.get(_ZERO_IS) == 0 or not usual):
        raise PictureError(f"has 16 bits a channel, and transparent, inverted or other than RGB pixels. {_SAVE}")
    return 16 if deep else 8


def _upright(image: Image) -> np.ndarray:
    """[H, W] or [H, W, 3], in the bits of Pillow. Raises PictureError for transparent pixels."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise PictureError("has transparent pixels, and nothing says what is behind them. Save it without transparency")
    if image.mode in _GREY + _COLOURED:
        image = image.convert("L" if image.mode in _GREY else "RGB")
    return np.asarray(image)


def _other_byte(args: str | tuple) -> str | tuple:
    """The arguments of Pillow's decoder with 16 bits of the other byte order."""
    raw, *rest = (args,) if isinstance(args, str) else args
    raw = raw[:-1] + _OTHER_BYTE[raw[-1]]
    return raw if isinstance(args, str) else (raw, *rest)
