"""What a report tells: photos to look at, what was left out, what to photograph next."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli import storage
from litecli.library.profile import Profile, from_tensors, to_tensors
from litecli.personal.advice import ObjectFacts, advice
from litecli.personal.personalize import adapt
from litecli.personal.report import Report, report
from litecli.personal.report_page import profile_page

from .small_reports import folder, profile

__all__ = ("folder", "profile")  # fixtures


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
        {"left_out_more": -1},
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


def test_photos_are_asked_for_up_to_five_views_the_fewest_first() -> None:
    counts = {"a": 4, "b": 5, "c": 2}
    told = advice([ObjectFacts(label, n, n, n, n) for label, n in counts.items()], [])
    assert [(one.labels, one.do, one.why) for one in told] == [
        (("c",), "3 more photos, from other sides.", "There are only 2."),
        (("a",), "1 more photo, from another side.", "There are only 4."),
    ]


def test_two_objects_are_told_apart_whichever_was_taken_for_the_other() -> None:
    objects = [ObjectFacts(label, 9, 9, 8, 9, {"mixed up": 1}) for label in "abcd"]
    told = advice(objects, [("a", "d", 1), ("b", "c", 1), ("c", "b", 1)])
    assert [(one.labels, one.why) for one in told] == [
        (("b", "c"), "2 photos of one were taken for the other."),
        (("a", "d"), "1 photo of one was taken for the other."),
    ]


def test_the_check_of_a_tuned_model_is_called_hopeful(profile: Profile) -> None:
    tuned = replace(profile, film={"norm.weight": np.ones(2, np.float32)})
    words = b"tuned itself to all of these photos"
    assert words in profile_page(report(tuned)) and words not in profile_page(report(profile))


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
