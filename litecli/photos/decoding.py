"""A file's bytes to Pillow's picture of them: what format it is, and what cannot be used.

The bytes decide, never the name. Every failure is a `PhotoError` with the short reason a user
reads; a picture that is cut off is refused, because a grey half teaches wrong things.
"""

import importlib
import io
import re
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL.JpegImagePlugin import JpegImageFile

from litecli.errors import PhotoError
from litecli.photos.walk import EMPTY, IRREGULAR, NO_PERMISSION, RAW, VANISHED, VIDEO

# Odd metadata and pictures above 90 megapixels make Pillow warn on stderr. One filter, set once
# and for Pillow's own modules only, because swapping filters around a call is unsafe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Limits, so that no file takes 2 GB or 10 seconds, whatever it claims to be.
MAX_FILE_BYTES = 1 << 30
MAX_PIXELS_BASELINE_JPEG = 500_000_000  # decoded row by row, already shrunk
MAX_PIXELS_PROGRESSIVE_JPEG = 200_000_000  # libjpeg holds all its coefficients in memory
MAX_SCANS = 100  # of a JPEG; each goes through all the coefficients, and ten are usual
MAX_PIXELS = 178_956_970  # most other formats: Pillow's own limit
MAX_PIXELS_OF = {  # decoders that need 10 to 20 bytes of memory a pixel
    "WEBP": 80_000_000,
    "JPEG2000": 80_000_000,
    "AVIF": 100_000_000,
    "HEIF": 100_000_000,
}
MAX_PIXELS_AT_ONCE = 100_000_000  # of all threads together
MIN_SIDE = 8  # pixels
MAX_ASPECT = 20  # a longer strip has no centre square worth looking at

CUT_OFF = "file is cut off"
DAMAGED = "file is damaged"
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
# A JPEG's markers with a length, inside the picture's data too, where 0 and restarts follow 255.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_FRAMES, _SCAN, _END_OF_IMAGE = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}), 0xDA, 0xD9
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # TIFF tags
_BITS, _PLANES = 258, 284


def read_file(path: Path, length: int = -1) -> bytes:
    """All bytes of a regular file, or so many; raises PhotoError where there are none to be had."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            raise PhotoError(IRREGULAR)
        if status.st_size > MAX_FILE_BYTES:
            raise PhotoError(_too_many_bytes(status.st_size))
        if length < 0:
            return path.read_bytes()
        with path.open("rb") as file:
            return file.read(length)
    except FileNotFoundError:
        raise PhotoError(VANISHED) from None
    except PermissionError:
        raise PhotoError(NO_PERMISSION) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise PhotoError(f"cannot be read ({getattr(error, 'strerror', error)})") from error


@contextmanager
def decoded(data: bytes, shortest_side: int = 0) -> Iterator[tuple[Any, tuple[int, int]]]:
    """Pillow's picture as the file stores it, and its full (width, height), to be used in a `with`.

    A JPEG is shrunk by 2, 4 or 8 while it is decoded when `shortest_side` > 0; its short side stays
    at least that many pixels. Waits while other threads hold many pixels. Raises PhotoError for
    whatever goes wrong, inside the `with` too, also where the memory does not suffice.
    """
    try:
        if len(data) > MAX_FILE_BYTES:
            raise PhotoError(_too_many_bytes(len(data)))
        module, name = reader_of(data)
        picture = getattr(importlib.import_module(module), name)(io.BytesIO(data))
        size = picture.size
        whole_in_memory = _check_header(picture, data)
        _widen_planes(picture)
        if shortest_side and isinstance(picture, Jpeg):
            picture.draft(None, (shortest_side, shortest_side))
        width, height = size if whole_in_memory else picture.size
        with _BUDGET.taken(width * height):
            picture.load()
            yield picture, size
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError("too large for this computer's memory") from None
    except ImportError:
        raise PhotoError(NO_HEIC) from None
    except Exception as error:  # Pillow's plug-ins raise nearly anything on odd bytes
        cut_off = isinstance(error, EOFError | struct.error) or _SIGNS_OF_A_CUT.search(str(error))
        raise PhotoError(CUT_OFF if cut_off else DAMAGED) from error


def is_sequence(picture: Any) -> bool:
    """True for an animation or several pages, of which `decode` gives the first."""
    return picture.format != "HEIF" and getattr(picture, "is_animated", False)


def reader_of(data: bytes) -> tuple[str, str]:
    """Module and class that read these bytes, by the first of them; PhotoError if none does."""
    head = data[:256]
    for pattern, module, name in _READERS:
        if re.match(pattern, head, re.DOTALL):
            return module, name
    for pattern, reason in _REFUSED:
        if re.match(pattern, head, re.DOTALL):
            raise PhotoError(reason)
    raise PhotoError("not an image")


def _check_header(picture: Any, data: bytes) -> bool:
    """Whether decoding holds the whole picture in memory, however much of it is wanted.

    Raises PhotoError for a size nobody can use, and for RAW files that pose as TIFF.
    """
    width, height = picture.size
    limit, whole = MAX_PIXELS_OF.get(picture.format, MAX_PIXELS), True
    if isinstance(picture, Jpeg):
        scans, whole = 1, "progressive" in picture.info
        if whole or width * height > MAX_PIXELS_AT_ONCE:
            scans, together = _jpeg_scans(data)
            whole |= not together
        if scans > MAX_SCANS:
            raise PhotoError(DAMAGED)
        limit = MAX_PIXELS_PROGRESSIVE_JPEG if whole else MAX_PIXELS_BASELINE_JPEG
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
    return whole


def _widen_planes(picture: Any) -> None:
    """Have planes of 16 bits, one for each colour of a plain TIFF, read as such.

    Pillow takes them for 8 bits: the picture is garbled, and nothing is said.
    """
    tags: Any = getattr(picture, "tag_v2", {})
    if tags.get(_PLANES) != 2 or 16 not in tags.get(_BITS, ()):
        return
    order = "B" if tags.prefix == b"MM" else "L"
    picture.tile = [
        tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
        if tile.codec_name == "raw"
        else tile
        for tile in picture.tile
    ]


def _jpeg_scans(data: bytes) -> tuple[int, bool]:
    """How many scans a JPEG has, and whether the first one has all the colours."""
    place, scans, colours, together = 2, 0, 0, True
    while found := _MARKER.search(data, place):
        kind, place = found[0][1], found.end()
        if kind == _END_OF_IMAGE or place + 8 > len(data):
            break
        if kind in _FRAMES:
            colours = data[place + 7]
        elif kind == _SCAN:
            together = together and (scans > 0 or data[place + 2] >= colours)
            scans += 1
        place += int.from_bytes(data[place : place + 2], "big")
    return scans, together


def _too_many_bytes(size: int) -> str:
    return f"too large ({size / 1e9:.1f} GB)"


class _Budget:
    """So many pixels, which threads take and give back; one that wants more has them all."""

    def __init__(self, pixels: int) -> None:
        self._all = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` are free, and hold them for the length of the `with`."""
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_BUDGET = _Budget(MAX_PIXELS_AT_ONCE)
