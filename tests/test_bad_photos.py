"""Photos as phones, cameras and the web leave them: rows 16 to 27 of the bad inputs.

Each file is put among good photos, adapted, and classified by its name: skipped and named in the
first case, an error in the second, or used in both. Pixels are test_photo_colours.py's and
test_photo_input.py's part.
"""

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from pillow_heif import HeifImagePlugin  # noqa: F401 (registers HEIF, so that tests can write it)

ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def view(photo) -> Image.Image:
    """A new photo of the keys, decoded."""
    return Image.open(io.BytesIO(photo("keys", 700))).convert("RGB")


@pytest.fixture
def learned(run, write_objects) -> Callable[..., tuple[int, str, str]]:
    """`run`, after an adapt of keys, mug and bowl."""
    write_objects({"keys": 5, "mug": 5, "bowl": 5})
    assert run("adapt", "my_objects", "-q")[0] == 0
    return run


@pytest.fixture
def meet(learned, put):
    """`meet(name, data)`: adapt with that file among the keys, then classify it by its name.

    Gives (what adapt printed, exit code of classify, its answer).
    """

    def call(name: str, data: bytes) -> tuple[str, int, str]:
        path = put(f"my_objects/keys/{name}", data)
        code, out, err = learned("adapt", "my_objects")
        assert code == 0
        told = out + err
        code, out, err = learned("classify", path.relative_to(Path.cwd()), "--no-unknown")
        path.unlink()
        return told, code, out + err

    return call


def used(met: tuple[str, int, str]) -> bool:
    """Whether a photo was learned from and then named right."""
    told, code, answer = met
    return "Skipped" not in told and code == 0 and answer.split("\t")[1] == "keys"


def skipped(met: tuple[str, int, str], reason: str) -> bool:
    """Whether a file was skipped with that reason, and an error (3) where it was named."""
    told, code, answer = met
    end = "" if reason.endswith("?") else "."
    return f" ({reason})\n" in told and code == 3 and f": {reason}{end}\n" in answer


def test_row_16_heic(meet, view: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(view, "HEIF")
    assert used(meet("IMG_7.HEIC", data))
    assert used(meet("IMG_7.HEIC", encode(view, "HEIF", save_all=True, append_images=[view])))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    broken = "cannot read HEIC: pip install --force-reinstall pillow-heif"
    assert skipped(meet("IMG_7.HEIC", data + b"\0"), broken)


def test_row_16_nothing_but_heic_and_no_reader(run, put, view, monkeypatch) -> None:
    put("my_objects/keys/IMG_7.HEIC", encode(view, "HEIF"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    code, _, err = run("adapt", "my_objects")
    assert code == 3 and err.endswith("  Try: pip install --force-reinstall pillow-heif\n")
    put("my_objects/keys/page.jpg", b"<html></html>")
    assert "  Try: add JPEG, PNG or HEIC photos" in run("adapt", "my_objects")[2]


def test_row_17_heic_bytes_named_jpg_and_the_reverse(meet, photo, view: Image.Image) -> None:
    assert used(meet("IMG_7.jpg", encode(view, "HEIF")))
    assert used(meet("IMG_7.heic", photo("keys", 700)))
    assert used(meet("IMG_7", encode(view, "PNG")))


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.dng", b"II*\0", "RAW"),
        ("a.cr3", b"\0\0\0\x18ftypcrx ", "RAW"),
        ("a.svg", b"<svg/>", "SVG"),
        ("a.pdf", b"%PDF-1.7", "PDF"),
        ("a.psd", b"8BPS\0\1", "PSD"),
        ("a.jpg", b"\0\0\0\x18ftypcrx ", "RAW"),  # whatever its name
        ("b.jpg", b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        ("c.jpg", b"%PDF-1.7", "PDF"),
        ("d.jpg", b"8BPS\0\1", "PSD"),
    ],
)
def test_row_18_raw_and_drawings(meet, name: str, data: bytes, kind: str) -> None:
    told, code, answer = meet(name, data)
    reason = f"{kind} is not supported; export as JPEG"
    assert f"  keys/{name} ({reason})\n" in told
    assert code == 3 and (reason in answer or name == "a.dng")


def test_row_18_a_dng_named_on_the_command_line(meet, view: Image.Image) -> None:
    dng = encode(view, "TIFF", tiffinfo={50706: b"\x01\x04\0\0"})  # DNGVersion
    assert skipped(meet("a.dng", dng), "RAW is not supported; export as JPEG")


@pytest.mark.parametrize("data", [b"", bytes(3000)])
def test_row_19_empty_files(meet, data: bytes) -> None:
    assert skipped(meet("a.jpg", data), "empty file - is it still in the cloud?")


def test_row_19_icloud_placeholder(learned, put) -> None:
    put("my_objects/keys/.IMG_2.HEIC.icloud", b"bplist00")
    code, out, _ = learned("adapt", "my_objects")
    assert code == 0 and ".IMG_2.HEIC.icloud (empty file - is it still in the cloud?)" in out


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "HEIF", "WEBP"])
def test_row_20_a_file_that_is_cut_off(meet, view: Image.Image, kind: str) -> None:
    data = encode(view, kind)
    assert skipped(meet("a.jpg", data[: len(data) * 2 // 3]), "file is cut off")


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>404</html>", b"no such photo\n"])
def test_row_21_a_web_page_named_jpg(meet, data: bytes) -> None:
    assert skipped(meet("a.jpg", data), "not an image (looks like a web page)")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9999))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_row_22_a_panorama(meet, view: Image.Image) -> None:
    wide = view.convert("L").resize((18_000, 10_200), Image.Resampling.NEAREST)
    told, code, answer = meet("wide.jpg", encode(wide, "JPEG", quality=50))
    assert code == 0 and "Skipped" not in told and "Warning" not in told + answer
    assert skipped(meet("a.png", png_that_claims(20_992, 10_496)), "too large (20 992x10 496)")


def test_row_23_specks_strips_and_small_photos(meet, view: Image.Image) -> None:
    assert skipped(meet("a.png", encode(Image.new("RGB", (1, 1)), "PNG")), "too small (1x1)")
    strip = encode(Image.new("RGB", (4000, 3)), "PNG")
    assert skipped(meet("a.png", strip), "too small (4000x3)")
    narrow = encode(Image.new("RGB", (4000, 30)), "PNG")
    assert skipped(meet("a.png", narrow), "too narrow (4000x30)")
    met = meet("a.png", encode(view.resize((60, 45)), "PNG"))
    assert used(met) and "very small" in met[0]


def test_row_24_a_rotated_portrait_is_upright_everywhere(learned, put, view) -> None:
    """Stored lying and marked so, or stored upright: the very same answer."""
    lying = ImageOps.expand(view.rotate(90, expand=True), 0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    put("upright.png", encode(lying.transpose(Image.Transpose.ROTATE_270), "PNG"))
    put("marked.png", encode(lying, "PNG", exif=exif.tobytes()))
    put("broken.jpg", encode(view, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"))
    put("plain.jpg", encode(view, "JPEG"))
    out = learned("classify", "upright.png", "marked.png", "broken.jpg", "plain.jpg", "--json")[1]
    upright, marked, broken, plain = (json.loads(line)["scores"] for line in out.splitlines())
    assert upright == marked and broken == plain and upright != plain


def test_row_25_other_colour_modes(meet, view: Image.Image) -> None:
    for mode, kind in (("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("YCbCr", "TIFF")):
        assert used(meet("a", encode(view.convert(mode), kind)))
    for mode in ("L", "1", "LA", "I;16"):
        grey = view.convert("L")
        deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        told, code, _ = meet("a", encode(deep if mode == "I;16" else grey.convert(mode), "PNG"))
        assert "Skipped" not in told and code == 0
    clear = view.convert("RGBA")
    clear.putalpha(0)  # what an editor has cut out; its colours are still in the file
    white = Image.new("RGB", view.size, "white")
    answers = [meet("a", encode(image, "PNG"))[2].split("\t")[1:] for image in (clear, white)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_row_26_the_first_of_several(meet, view: Image.Image, kind: str) -> None:
    met = meet("a", encode(view, kind, save_all=True, append_images=[Image.new("RGB", view.size)]))
    assert used(met) and "with several frames (first used)" in met[0]


def test_row_26_phone_photos_of_several_pictures_are_ordinary(meet, view: Image.Image) -> None:
    pair = encode(view, "MPO", save_all=True, append_images=[view.rotate(180)])
    motion = encode(view, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 9
    gain_map = b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'
    ultra_hdr = pair[:2] + b"\xff\xe1" + struct.pack(">H", len(gain_map) + 2) + gain_map + pair[2:]
    for data in (pair, motion, ultra_hdr):
        met = meet("a.jpg", data)
        assert used(met) and "several frames" not in met[0]


def test_row_27_dark_and_blurred(learned, put, photo) -> None:
    put("my_objects/keys/1.png", encode(Image.new("RGB", (99, 99)), "PNG"))
    put("my_objects/keys/2.png", encode(Image.new("RGB", (99, 99), (2, 2, 2)), "PNG"))
    moved = Image.open(io.BytesIO(photo("keys", 800))).resize((800, 600))
    put("my_objects/keys/3.png", encode(moved.filter(ImageFilter.GaussianBlur(90)), "PNG"))
    put("my_objects/mug/1.png", encode(Image.new("RGB", (99, 99), "white"), "PNG"))
    code, out, _ = learned("adapt", "my_objects")
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert code == 0 and "1 blurred, 2 dark" in rows["keys"] and "1 bright" in rows["mug"]
    assert rows["keys"].split()[1] == "8"
