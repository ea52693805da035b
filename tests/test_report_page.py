"""The pages of a report: what the facts say, as text whatever the names, alone, on any screen."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from litecli import personal
from litecli.library.profile import Profile
from litecli.personal.advice import ObjectFacts
from litecli.personal.personalize import adapt
from litecli.personal.report import Report, Unknown, report
from litecli.personal.report_page import (
    Answered,
    answers_page,
    bars,
    is_ours,
    matrix,
    profile_page,
    spread_out,
)

from .small_reports import Reader, assert_alone, folder, profile

__all__ = ("folder", "profile")  # fixtures

NASTY = ("<script>alert(1)</script>", "a[/]b", '"x" onload="y', "{{ 7 * 7 }}", "tab\there‮")


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
    whole = matrix(report_of(objects=objects[:14], mix_ups=[], correct=70, checked=70))
    assert whole is not None and not whole.partial and len(whole.labels) == 14


def test_the_histogram_has_its_line_between_known_and_unknown() -> None:
    drawn = bars(Unknown(0.5, np.array([0.0, 0.1, 0.4]), np.array([0.6, 1.0])))
    assert drawn is not None
    own = [n for n, height in enumerate(drawn.own) if height]
    strangers = [n for n, height in enumerate(drawn.strangers) if height]
    assert max(own) < drawn.line * len(drawn.own) < min(strangers) + 1
    assert len(own) == 3 and len(strangers) == 2 and max(drawn.own) == 1
    assert bars(Unknown(0.5, np.empty(0), np.empty(0))) is None


def test_the_line_is_on_the_histogram_wherever_the_photos_are() -> None:
    for threshold in (-5.0, 5.0):
        drawn = bars(Unknown(threshold, np.array([0.0, 0.1]), np.array([0.2])))
        assert drawn is not None and 0 < drawn.line < 1


def test_a_photo_at_the_threshold_is_known() -> None:
    facts = report_of((ObjectFacts("keys", 5, 5, 5, 5),), [], 5, 5)
    level = Unknown(0.5, np.array([0.5, 0.6]), np.array([0.5, 0.6, 0.7]))
    text = Reader(profile_page(replace(facts, unknown=level))).text
    assert "1 of 2 stay known" in text and "2 of 3 are called unknown" in text


def test_a_page_that_quotes_ours_is_not_ours() -> None:
    page = profile_page(report_of((ObjectFacts("keys", 5, 5, 5, 5),), [], 5, 5))
    assert is_ours(page) and not is_ours(b"<!doctype html>" + b" " * 1000 + page)


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


def test_spread_out() -> None:
    assert spread_out(range(3), 12) == [0, 1, 2]
    assert spread_out(range(100), 4) == [0, 25, 50, 75]


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
        *((8, 9), tuple(MixUp(*one) for one in mix_ups), (), (), 0, (), nothing),
    )
