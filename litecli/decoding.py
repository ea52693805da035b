"""A file's bytes to Pillow's picture of them: what format it is, and what cannot be used.

The bytes decide, never the name. Every failure is a `PhotoError` with the short reason a user
reads; a picture that is cut off is refused, because a grey half teaches wrong things.
"""

import importlib
import io
import re
import stat
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL.JpegImagePlugin import JpegImageFile

from litecli.errors import PhotoError
from litecli.walk import EMPTY, IRREGULAR, NO_PERMISSION, RAW, VANISHED, VIDEO

# Odd metadata and pictures above 90 megapixels make Pillow warn on stderr. One filter, set once
# and for Pillow's own modules only, because swapping filters around a call is unsafe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_FILE_BYTES = 1 << 30
MAX_PIXELS_BASELINE_JPEG = 500_000_000  # decoded row by row, already shrunk
MAX_PIXELS_PROGRESSIVE_JPEG = 200_000_000  # libjpeg holds all its coefficients in memory
MAX_PIXELS = 178_956_970  # other formats: Pillow's own limit
MIN_SIDE = 8  # pixels
MAX_ASPECT = 20  # a longer strip has no centre square worth looking at

CUT_OFF = "file is cut off"
NO_HEIC = "cannot read HEIC: pip install --force-reinstall pillow-heif"
WEB_PAGE = "not an image (looks like a web page)"


class Jpeg(JpegImageFile):
    """Any JPEG's first picture: multi-picture, Motion Photo and gain-map files are photos too."""

    def _read_dpi_from_exif(self) -> None:
        """Leave EXIF alone: a broken block must neither warn nor fail."""


# First bytes, and the class that reads them. Calling the class itself skips what Image.open adds:
# all the other plug-ins, and a limit of 179 megapixels that shrinking while decoding can lift.
_READERS = (
    (rb"\xff\xd8\xff", __name__, "Jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin", "PngImageFile"),
    (rb"GIF8[79]a", "PIL.GifImagePlugin", "GifImageFile"),
    (rb"RIFF....WEBP", "PIL.WebPImagePlugin", "WebPImageFile"),
    (rb"BM", "PIL.BmpImagePlugin", "BmpImageFile"),
    (rb"II\*\0(?!....CR)|II\+\0|MM\0[*+]", "PIL.TiffImagePlugin", "TiffImageFile"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    (rb"P[1-6]\s", "PIL.PpmImagePlugin", "PpmImageFile"),
    (rb"....ftyp(avif|avis|mif1.{4,40}avif)", "PIL.AvifImagePlugin", "AvifImageFile"),
    (rb"....ftyp(he[iv][cxms]|mif1|msf1)", "pillow_heif", "HeifImageFile"),
)
_REFUSED = (
    (rb"....ftypcrx |II\*\0....CR|FUJIFILM|IIR[OS]|IIU\0", RAW),
    (rb"....(ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|RIFF....AVI ", VIDEO),
    (rb"%PDF", "PDF is not supported; export as JPEG"),
    (rb"8BPS", "PSD is not supported; export as JPEG"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL is not supported; export as JPEG"),
    (rb"\s*(<\?xml.*)?<svg", "SVG is not supported; export as JPEG"),
    (rb"\0*\Z", EMPTY),  # some sync programs leave the right size full of zeros
    (rb"[\t\n\f\r -~\x80-\xff]+\Z", WEB_PAGE),
)
_SIGNS_OF_A_CUT = re.compile(
    r"truncat|end of file|expecting to read|no more images|missing dimensions|not identified"
    r"|parsing failed|decoder object|meta box",
    re.IGNORECASE,
)
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # TIFF tags


def read_file(path: Path) -> bytes:
    """All bytes of a regular file; raises PhotoError where there are none to be had."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            raise PhotoError(IRREGULAR)
        if status.st_size > MAX_FILE_BYTES:
            raise PhotoError(f"too large ({status.st_size / 1e9:.1f} GB)")
        return path.read_bytes()
    except FileNotFoundError:
        raise PhotoError(VANISHED) from None
    except PermissionError:
        raise PhotoError(NO_PERMISSION) from None
    except OSError as error:
        raise PhotoError(f"cannot be read ({error.strerror or error})") from error


def decode(data: bytes, shortest_side: int = 0) -> tuple[Any, tuple[int, int]]:
    """Pillow's picture as the file stores it, and its full (width, height).

    A JPEG is shrunk by 2, 4 or 8 while it is decoded when `shortest_side` > 0; its short side stays
    at least that many pixels. Raises PhotoError, also where the memory does not suffice.
    """
    try:
        picture = _reader(data)(io.BytesIO(data))
        size = picture.size
        _check_header(picture)
        if shortest_side and isinstance(picture, Jpeg):
            picture.draft(None, (shortest_side, shortest_side))
        picture.load()
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError("too large for this computer's memory") from None
    except ImportError:
        raise PhotoError(NO_HEIC) from None
    except Exception as error:  # Pillow's plug-ins raise nearly anything on odd bytes
        cut_off = isinstance(error, EOFError | struct.error) or _SIGNS_OF_A_CUT.search(str(error))
        raise PhotoError(CUT_OFF if cut_off else "file is damaged") from error
    return picture, size


def is_sequence(picture: Any) -> bool:
    """True for an animation or several pages, of which `decode` gives the first."""
    return picture.format != "HEIF" and getattr(picture, "is_animated", False)


def _reader(data: bytes) -> Callable[[io.BytesIO], Any]:
    """The class that reads these bytes, imported only now; raises PhotoError if there is none."""
    head = data[:256]
    for pattern, module, name in _READERS:
        if re.match(pattern, head, re.DOTALL):
            return getattr(importlib.import_module(module), name)
    for pattern, reason in _REFUSED:
        if re.match(pattern, head, re.DOTALL):
            raise PhotoError(reason)
    raise PhotoError("not an image")


def _check_header(picture: Any) -> None:
    """Raise PhotoError for a size nobody can use, and for RAW files that pose as TIFF."""
    width, height = picture.size
    limit = MAX_PIXELS
    if isinstance(picture, Jpeg):
        progressive = "progressive" in picture.info
        limit = MAX_PIXELS_PROGRESSIVE_JPEG if progressive else MAX_PIXELS_BASELINE_JPEG
    if width * height > limit:
        shown = f"{width:,}x{height:,}".replace(",", " ")
        raise PhotoError(f"too large ({shown})")
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"too small ({width}x{height})")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PhotoError(f"too narrow ({width}x{height})")
    tags = getattr(picture, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE, 0) & 1:  # 1: only a preview of the photo
        raise PhotoError(RAW)
