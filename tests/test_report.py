"""`litecli report` and `classify --report`: the facts, the pages, and that names stay text."""

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from litecli import library, personal, storage
from litecli.library.profile import Profile, from_tensors, to_tensors
from litecli.personal.advice import ObjectFacts, advice
from litecli.personal.personalize import adapt
from litecli.personal.report import Report, Unknown, report
from litecli.personal.report_page import (
    Answered,
    answers_page,
    bars,
    matrix,
    profile_page,
    spread_out,
)
from litecli.photos import images

NASTY = ("<script>alert(1)</script>", "a[/]b", '"x" onload="y', "{{ 7 * 7 }}", "tab\there‮")


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


def kinds(facts: Report) -> dict[str, list[str]]:
    return {
        concern.kind: [p.path for finding in concern.findings for p in finding.pictures]
        for concern in facts.concerns
    }


def test_a_copy_filed_under_another_object_is_shown_beside_its_original(
    folder: Path, tiny_model
) -> None:
    Image.open(folder / "bowl" / "IMG_2.jpg").save(folder / "wallet" / "IMG_copy.jpg", quality=70)
    learned = adapt(folder, tiny_model, name="my_objects")
    says = "bowl/IMG_2.jpg and wallet/IMG_copy.jpg look like the same photo: which object is it?"
    assert says in learned.notes and len(learned.profile.photo_paths) == 25
    found = kinds(report(learned.profile))
    assert found["same photo"] == ["bowl/IMG_2.jpg", "wallet/IMG_copy.jpg"]


def test_the_facts_of_a_folder(profile: Profile) -> None:
    facts = report(profile)
    found = kinds(facts)
    assert found["mislabelled"] == ["mug/IMG_wrong.jpg"]
    assert found["dark"] == ["mug/IMG_dark.jpg"] and found["blurred"] == ["keys/IMG_soft.jpg"]
    assert {"keys/IMG_1.jpg", "keys/IMG_again_60.jpg", "keys/IMG_again_80.jpg"} <= set(
        found["same shot"]
    )
    assert "same photo" not in found
    [wrong] = next(c for c in facts.concerns if c.kind == "mislabelled").findings
    assert wrong.like is not None and wrong.like.label == "keys"
    assert ("bowl/notes.txt", "not a photo") in facts.left_out
    assert ("bowl/IMG_0 (1).jpg", "same photo as bowl/IMG_0.jpg") in facts.left_out
    assert facts.num_photos == 6 + 9 + 8 + 1 and facts.has_pictures
    assert facts.correct == profile.check["correct"] and facts.checked == profile.check["total"]
    assert list(facts.forecast or ()) == profile.check["forecast"]
    assert facts.advice[0].labels == ("wallet",)


def test_the_matrix_holds_every_checked_photo(profile: Profile) -> None:
    facts = report(profile)
    table = matrix(facts)
    assert table is not None and table.labels == profile.labels
    assert table.counts.sum() == facts.checked and np.trace(table.counts) == facts.correct
    row, column = profile.labels.index("mug"), profile.labels.index("keys")
    assert table.counts[row, column] == 1


def test_a_large_matrix_shows_the_objects_that_were_mixed_up() -> None:
    objects = tuple(ObjectFacts(f"o{n:02}", 5, 5, 5, 5) for n in range(30))
    facts = report_of(objects=objects, mix_ups=[("o07", "o21", 3)], correct=150, checked=150)
    table = matrix(facts)
    assert table is not None and table.partial and table.labels == ("o07", "o21")
    assert table.counts.tolist() == [[5, 3], [0, 5]]
    assert matrix(report_of(objects=objects, mix_ups=[], correct=150, checked=150)) is None


def test_the_histogram_has_its_line_between_known_and_unknown() -> None:
    drawn = bars(Unknown(0.5, np.array([0.0, 0.1, 0.4]), np.array([0.6, 1.0])))
    assert drawn is not None
    own = [n for n, height in enumerate(drawn.own) if height]
    strangers = [n for n, height in enumerate(drawn.strangers) if height]
    assert max(own) < drawn.line * len(drawn.own) < min(strangers) + 1
    assert len(own) == 3 and len(strangers) == 2 and max(drawn.own) == 1
    assert bars(Unknown(0.5, np.empty(0), np.empty(0))) is None


def test_the_page_says_what_the_facts_say(profile: Profile) -> None:
    facts = report(profile)
    page = Reader(profile_page(facts))
    for title in (
        *("What to expect", "What to photograph next", "Look at these", "Mix-ups"),
        *("Your objects", "How “unknown” works here", "Perhaps in the wrong folder"),
        *("Nearly the same shot", "Blurred", "Very dark", "Not used"),
    ):
        assert title in page.text
    assert "4 objects, learned from 24 photos" in page.text
    assert f"{facts.correct} of {facts.checked} came out right" in page.text
    low, high = facts.forecast or (0, 0)
    assert (f"{low} to {high} of 10" if low != high else f"{low} of 10") in page.text
    novelty = facts.unknown
    kept = int(np.sum(novelty.own <= novelty.threshold))
    assert f"{kept} of {len(novelty.own)} stay known" in page.text
    assert len(page.images) >= facts.num_photos


def test_the_page_stands_alone(profile: Profile) -> None:
    page = profile_page(report(profile))
    assert page == profile_page(report(profile))
    assert_alone(page)


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


def test_names_stay_text(profile: Profile) -> None:
    names = NASTY[: len(profile.labels)]
    renamed = dict(zip(profile.labels, names, strict=True))
    paths = tuple(f"{name}/{n} {NASTY[4]}.jpg" for n, name in enumerate(profile.photo_paths))
    moved = dict(zip(profile.photo_paths, paths, strict=True))
    check = profile.check | {
        "named": {moved[p]: renamed[label] for p, label in profile.check["named"].items()},
        "objects": [o | {"label": renamed[o["label"]]} for o in profile.check["objects"]],
        "left_out": [[NASTY[0], NASTY[2]]],
    }
    odd = replace(profile, name=NASTY[0], labels=names, photo_paths=paths, check=check)
    page = profile_page(report(replace(odd, model_name=NASTY[2])))
    assert_alone(page)
    reader = Reader(page)
    for name in names:
        assert name in reader.text
    assert "tab\\there" in reader.text and "\t" not in page.decode().split("<body>")[1]
    assert reader.text.count(NASTY[0]) > 3
    answers = [
        Answered(f"{name}.jpg", name, name, 0.5, (name,), None, name, None) for name in NASTY
    ] + [Answered(NASTY[0], None, "", 0, (), None, None, None, error=NASTY[2])]
    page = answers_page(answers, NASTY[0], 3, True)
    assert_alone(page)
    assert all(name in Reader(page).text for name in NASTY[:4])


def test_a_file_name_that_is_no_text(profile: Profile) -> None:
    odd = replace(profile, photo_paths=("keys/\udcff.jpg", *profile.photo_paths[1:]))
    alternatives = [a["alt"] for t, a in Reader(profile_page(report(odd))).tags if t == "img"]
    assert "keys/�.jpg" in alternatives


def test_without_thumbnails(folder: Path, tiny_model) -> None:
    bare = adapt(folder, tiny_model, name="bare", thumbnails=False).profile
    facts = report(bare)
    reader = Reader(profile_page(facts))
    assert not facts.has_pictures and not reader.images
    assert "no pictures on this page" in reader.text and "--no-thumbnails" in reader.text
    assert "Perhaps in the wrong folder" in reader.text and "mug/IMG_wrong.jpg" in reader.text


def test_a_thumbnail_that_is_no_jpeg_is_not_shown(profile: Profile) -> None:
    svg = dict.fromkeys(profile.photo_hashes, b"<svg onload=alert(1)>")
    assert not Reader(profile_page(report(replace(profile, thumbnails=svg)))).images


def test_one_object(write_objects, tiny_model) -> None:
    facts = report(adapt(write_objects({"keys": 5}), tiny_model, name="one").profile)
    text = Reader(profile_page(facts)).text
    assert "1 object, learned from 5 photos" in text and matrix(facts) is None
    assert "nothing to mix it up with" in text
    assert f"{facts.correct} of {facts.checked} hidden photos" in text
    assert "With only one object there are no others" in text


def test_single_photos_cannot_be_checked(write_objects, tiny_model) -> None:
    facts = report(adapt(write_objects({"keys": 1, "mug": 1}), tiny_model, name="two").profile)
    text = Reader(profile_page(facts)).text
    assert facts.forecast is None and "Too early to say" in text
    assert "one view of each object" in text and text.count("not checked") == 2
    told = facts.advice[0]
    assert told.labels == ("keys", "mug") and told.do.startswith("4 more photos of each")


def test_a_profile_of_an_earlier_litecli(profile: Profile) -> None:
    facts = report(replace(profile, check={}))
    assert (facts.forecast, facts.mix_ups, facts.left_out, facts.checked) == (None, (), (), 0)
    assert b"Your objects" in profile_page(facts)


@pytest.mark.parametrize(
    "odd",
    [
        {"named": []},
        {"forecast": [1]},
        {"forecast": [0, 1e999]},
        {"objects": 3},
        {"left_out": [1]},
        {"photo_notes": 1},
        {"objects": [{"label": "keys", "correct": 2**70, "total": 2**70}]},
    ],
)
def test_a_check_that_cannot_be_read_is_refused_before_the_report(
    profile: Profile, odd: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="its check"):
        from_tensors(*to_tensors(replace(profile, check=profile.check | odd)))


def test_advice_says_what_helps_most_first() -> None:
    objects = (
        ObjectFacts("a", 8, 8, 6, 8, {"mixed up": 2}),
        ObjectFacts("b", 6, 3, 6, 6),
        ObjectFacts("c", 1, 1, 0, 0),
        ObjectFacts("d", 9, 9, 9, 9, {"dark": 1, "blurred": 2}),
        ObjectFacts("e", 9, 9, 8, 9, {"mislabelled": 1}),
        ObjectFacts("f", 9, 9, 9, 9),
    )
    told = advice(objects, [("a", "f", 2), ("e", "f", 1)])
    assert [one.labels for one in told] == [("c",), ("e",), ("a", "f"), ("b",), ("d",)]
    assert told[0].do == "4 more photos, from other sides."
    assert told[2].why == "2 photos of one were taken for the other."
    assert "about 3 different views" in told[3].why
    assert told[4].why == "2 are blurred, 1 is dark."
    assert advice((objects[5],), []) == ()


def test_spread_out() -> None:
    assert spread_out(range(3), 12) == [0, 1, 2]
    assert spread_out(range(100), 4) == [0, 25, 50, 75]


def test_a_kept_photo_keeps_its_thumbnail(folder: Path, tiny_model) -> None:
    shot = Image.new("RGB", (300, 200), (200, 40, 40))
    shot.paste((0, 0, 0), (0, 0, 150, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    shot.save(folder / "keys" / "upright.jpg", exif=exif)
    first = adapt(folder, tiny_model, name="p").profile
    upright = first.photo_hashes[first.photo_paths.index("keys/upright.jpg")]
    picture = Image.open(io.BytesIO(first.thumbnails[upright]))
    assert picture.size == (100, 150) and not picture.getexif()
    top, bottom = np.asarray(picture)[[10, 140], 50]  # the black half was on the left
    assert top.max() < 40 and bottom[0] > 160
    (folder / "mug" / "IMG_wrong.jpg").unlink()
    shot.save(folder / "mug" / "new.jpg")
    again = adapt(folder, tiny_model, name="p", previous=first)
    scratch = adapt(folder, tiny_model, name="p")
    assert again.embedded == 1 and again.profile.thumbnails[upright] == first.thumbnails[upright]
    assert storage.tensor_bytes(*to_tensors(again.profile)) == storage.tensor_bytes(
        *to_tensors(scratch.profile)
    )


def test_the_command(run, folder: Path) -> None:
    run("adapt", folder)
    code, out, err = run("report")
    assert code == 0 and "Wrote report.html (" in out and "browser" in err
    assert Path("report.html").read_bytes().startswith(b"<!doctype html>")
    code, out, _ = run("report", "my_objects", "-o", "new/other.html", "--json")
    told = json.loads(out)
    assert code == 0 and Path(told["path"]) == Path("new/other.html")
    assert told["schema"] == "litecli.report/1" and told["photos"] == 24 and told["pictures"]
    assert {"kind": "dark", "paths": ["mug/IMG_dark.jpg"], "like": None} in told["look_at"]
    assert [o["label"] for o in told["objects"]] == ["bowl", "keys", "mug", "wallet"]
    assert told["next"][0]["labels"] == ["wallet"] and told["mix_ups"][0]["taken_for"] == "keys"
    assert Path("new/other.html").read_bytes() == Path("report.html").read_bytes()
    assert run("report")[0] == 0  # over its own page


def test_the_command_without_a_profile(run) -> None:
    code, _, err = run("report")
    assert code == 4 and "litecli adapt ./my_objects" in err


def test_nothing_else_is_written_over(run, folder: Path, tmp_path: Path) -> None:
    run("adapt", folder)
    Path("thesis.html").write_text("<!doctype html><p>mine")
    Path("there").mkdir()
    for command in (("report", "-o"), ("classify", folder / "mug" / "IMG_0.jpg", "--report")):
        code, out, err = run(*command, "thesis.html")
        assert (code, out) == (2, "") and "thesis_litecli.html" in err
        assert run(*command, "there")[0] == 2
        code, out, err = run(*command, folder / "report.html")
        assert (code, out) == (2, "") and "among your photos" in err
    assert Path("thesis.html").read_text() == "<!doctype html><p>mine"
    assert not list(folder.glob("*.html"))


def test_a_page_is_written_whole_or_not_at_all(run, folder: Path, monkeypatch) -> None:
    run("adapt", folder)
    run("report")
    before = Path("report.html").read_bytes()
    run("adapt", folder, "--no-thumbnails")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    for command in (("report",), ("classify", folder / "mug", "--report", "report.html")):
        code, _, err = run(*command)
        assert code == 6 and "disk full" in err
    assert Path("report.html").read_bytes() == before
    assert [p.name for p in Path.cwd().iterdir() if p.name.endswith(".tmp")] == []


def test_classify_writes_its_answers_beside_the_nearest_photos(
    run, folder: Path, photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("adapt", folder)
    decode, decoded = images.open_photo, []
    inbox = Path("inbox")
    inbox.mkdir()
    for number, name in enumerate(("keys", "mug", "bowl")):
        (inbox / f"{number}.jpg").write_bytes(photo(name, 500 + number))
    (inbox / "broken.jpg").write_text("no photo")
    plain = run("classify", inbox, "--json")[1]
    monkeypatch.setattr(images, "open_photo", lambda *a, **k: decoded.append(a) or decode(*a, **k))
    code, out, err = run("classify", inbox, "--json", "--report", "answers.html")
    assert len(decoded) == 4  # each once, its small picture included
    assert code == 0 and out == plain and "Wrote 4 answers to answers.html" in err
    page = Path("answers.html").read_bytes()
    assert_alone(page)
    reader = Reader(page)
    answers = [json.loads(line) for line in out.splitlines()]
    for answer in answers:
        assert answer["path"] in reader.text
        if answer["error"]:
            assert answer["error"] in reader.text
        else:
            assert answer["nearest"] in reader.text
            assert (answer["label"] if answer["known"] else "unknown") in reader.text
    read = [answer for answer in answers if not answer["error"]]
    assert len(reader.images) == 2 * len(read) == 6
    own = library.load_profile().thumbnails
    assert sum(picture in set(map(data_uri, own.values())) for picture in reader.images) == 3
    assert "4 photos" in reader.text and "Not read 1" in reader.text


def data_uri(jpeg: bytes) -> str:
    import base64

    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def test_classify_all_unknown_and_without_thumbnails(run, folder: Path) -> None:
    run("adapt", folder, "--no-thumbnails")
    shot = folder / "mug" / "IMG_0.jpg"
    strict = ("--unknown-threshold", "-100", "--fail-on-unknown")
    code, _, _ = run("classify", shot, "--report", "a.html", *strict)
    text = Reader(Path("a.html").read_bytes()).text
    assert code == 7 and "Unknown 1" in text and "Named" not in text and "closest:" in text
    assert "own photos are not shown" in text
    assert run("classify", shot, "gone.jpg", "--report", "a.html")[0] == 3
    assert "Not read 1" in Reader(Path("a.html").read_bytes()).text


def test_classify_from_stdin(run, folder: Path, monkeypatch) -> None:
    run("adapt", folder)
    data = io.TextIOWrapper(io.BytesIO((folder / "mug" / "IMG_0.jpg").read_bytes()))
    monkeypatch.setattr(sys, "stdin", data)
    assert run("classify", "-", "--report", "a.html")[0] == 0
    reader = Reader(Path("a.html").read_bytes())
    assert "photo from stdin" in reader.text and len(reader.images) == 2


def test_neither_torch_nor_the_network_runtime_is_loaded(run, folder: Path) -> None:
    run("adapt", folder)
    code = (
        "import sys; from litecli.cli import main; code = main(['report', '-q']); "
        "loaded = {'torch', 'onnxruntime', 'matplotlib'} & set(sys.modules); "
        "sys.exit(code or (loaded and f'{loaded} were loaded') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_colours_can_be_read() -> None:
    style = (Path(personal.__file__).parent / "templates" / "style.css").read_text()
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    assert len(themes) == 2 and "dark" in themes[1]
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6});", theme))
        for front, back in (
            *(("ink", "paper"), ("ink", "card"), ("quiet", "paper"), ("quiet", "card")),
            *(("accent", "paper"), ("accent", "card"), ("warn", "card"), ("warn", "warn-soft")),
            *(("ink", "accent-soft"), ("ink", "warn-soft")),
        ):
            assert contrast(colours[front], colours[back]) >= 4.5, (front, back)


def contrast(front: str, back: str) -> float:
    """WCAG 2's contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to look with")
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(profile: Profile, tmp_path: Path, width: int) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitänsmützenhalter" * 3
    odd = replace(profile, name=long, labels=(long, *profile.labels[1:]), check=profile.check)
    answer = Answered(f"{long}/{long}.jpg", long, "sure (99 %)", 0.99, (long,), None, long, None)
    pages = (profile_page(report(odd)), answers_page([answer], long, 3, True))
    for number, page in enumerate(pages):
        # The page's own policy forbids the script that measures it. A window can be no narrower
        # than 500 pixels, a frame can.
        page = re.sub(rb"<meta http-equiv[^>]*>", b"", page).replace(
            b"</main>",
            b"</main><script>parent.postMessage([innerWidth, document.documentElement.scrollWidth,"
            b" document.querySelectorAll('section').length].join(), '*')</script>",
        )
        (tmp_path / f"{number}.html").write_bytes(page)
        frame = tmp_path / "frame.html"
        frame.write_text(
            "<title></title><script>onmessage = told => document.title = told.data</script>"
            f"<iframe src={number}.html width={width} height=844 style=border:0></iframe>"
        )
        command = [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--no-first-run", "--disable-quic", "--dump-dom", "--virtual-time-budget=5000"),
            *("--window-size=1400,900", f"--user-data-dir={tmp_path}/browser", frame.as_uri()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        title = re.search("<title>(.+?)</title>", done.stdout)
        assert title is not None, done.stderr
        inner, wide, sections = map(int, title[1].split(","))
        assert (inner, wide) == (width, width) and sections


def report_of(
    objects: tuple[ObjectFacts, ...],
    mix_ups: list[tuple[str, str, int]],
    correct: int,
    checked: int,
) -> Report:
    """A report with only what the matrix needs."""
    from litecli.personal.report import MixUp

    nothing = Unknown(0.0, np.empty(0), np.empty(0))
    return Report(
        *("p", "tiny", False, checked, False, objects, ((),) * len(objects), correct, checked),
        *((8, 9), tuple(MixUp(*one) for one in mix_ups), (), (), (), nothing),
    )
