"""A folder with something to say about each object, its profile, and pages as browsers see them."""

import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from litecli.library.profile import Profile
from litecli.personal.personalize import adapt


class Reader(HTMLParser):
    """Collects the tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def images(self) -> list[str]:
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]


@pytest.fixture
def folder(write_objects: Callable[..., Path], photo: Callable[[str, int], bytes]) -> Path:
    """Three objects, and something to say about each."""
    folder = write_objects({"bowl": 6, "keys": 6, "mug": 6, "wallet": 1})
    (folder / "mug" / "IMG_wrong.jpg").write_bytes(photo("keys", 99))
    shutil.copy(folder / "bowl" / "IMG_0.jpg", folder / "bowl" / "IMG_0 (1).jpg")
    (folder / "bowl" / "notes.txt").write_text("x")
    sharp = Image.open(folder / "keys" / "IMG_1.jpg")
    Image.new("RGB", (80, 80)).save(folder / "mug" / "IMG_dark.jpg")
    sharp.resize((400, 300)).filter(ImageFilter.GaussianBlur(12)).save(
        folder / "keys" / "IMG_soft.jpg"
    )
    for quality in (60, 80):
        sharp.save(folder / "keys" / f"IMG_again_{quality}.jpg", quality=quality)
    return folder


@pytest.fixture
def profile(folder: Path, tiny_model) -> Profile:
    return adapt(folder, tiny_model, name="my_objects").profile


def assert_alone(page: bytes) -> None:
    """No script, no event handler, nothing from elsewhere, and a policy that says so."""
    reader = Reader(page)
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "audio"}
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:image/jpeg;base64,") or (
            "src" not in attributes
        )
        assert attributes.get("href", "#").startswith("#") and "srcset" not in attributes
    text = page.decode("utf-8")
    assert "http://" not in text and "https://" not in text and "url(" not in text
    assert "@import" not in text
    policy = [a["content"] for _, a in reader.tags if a.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
