"""Profiles and models that are not as they should be: rows 42 to 45 of the bad inputs."""

import json
from pathlib import Path

import numpy as np
import pytest

from litecli import library, storage
from litecli.config import PROFILE_SCHEMA

from .small_objects import learned

__all__ = ("learned",)  # a fixture


def rewrite(**changes: object) -> None:
    """Change entries of the saved profile's header."""
    path = library.profile_path()
    tensors, metadata = storage.read_tensors(path)
    header = json.loads(metadata["litecli"]) | changes
    storage.write_tensors(path, tensors, {"litecli": json.dumps(header)})


def test_row_42_classify_before_any_adapt(run, put, photo) -> None:
    put("photo.jpg", photo("keys", 1))
    code, out, err = run("classify", "photo.jpg")
    assert (code, out) == (4, "")
    assert err == "Error: No profile yet.\n  Try: litecli adapt ./my_objects\n"


def test_row_43_a_mistyped_profile(learned) -> None:
    learned("adapt", "my_objects", "--name", "garage", "-q")
    code, _, err = learned("classify", "inbox/0.jpg", "-p", "garge")
    assert code == 4 and "No profile garge. Did you mean garage?" in err
    assert "2 profiles: garage, my_objects" in err


def test_row_44_a_damaged_profile(learned) -> None:
    path = library.profile_path()
    path.write_bytes(path.read_bytes()[:100])
    code, _, err = learned("classify", "inbox/0.jpg")
    assert code == 4 and 'Profile "my_objects" is damaged.' in err
    assert "Try: litecli adapt FOLDER" in err


def test_row_44_a_profile_of_a_newer_litecli(learned) -> None:
    rewrite(schema=PROFILE_SCHEMA + 1)
    code, _, err = learned("classify", "inbox/0.jpg")
    assert code == 4 and 'Profile "my_objects" was saved by a newer litecli.' in err
    assert "Try: pip install --upgrade litecli" in err


def test_row_44_its_model_is_changed_or_missing(learned, own_home: Path, write_model) -> None:
    folder = own_home / "models" / "tiny"
    write_model(folder, seed=1)
    code, _, err = learned("classify", "inbox/0.jpg")
    assert code == 4 and 'The model tiny has changed since profile "my_objects" was learned.' in err
    assert f"Try: litecli adapt {Path('my_objects').resolve()}" in err
    folder.rename(folder.with_name("gone"))
    code, _, err = learned("classify", "inbox/0.jpg")
    assert code == 4 and 'Profile "my_objects" needs the model tiny' in err
    assert "Try: litecli models fetch tiny   or, if it was your own: litecli models add" in err
    assert f"   or: litecli adapt {Path('my_objects').resolve()}" in err


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("embeddings", lambda values: values[:, :-1]),
        ("head.offsets", lambda values: values[:-1]),
        ("head.weights", lambda values: values.T.copy()),
        ("head.weights", lambda values: np.full_like(values, 3e38)),
    ],
)
def test_row_44_numbers_that_do_not_fit_together(learned, name: str, change) -> None:
    path = library.profile_path()
    tensors, metadata = storage.read_tensors(path)
    storage.write_tensors(path, {**tensors, name: change(tensors[name])}, metadata)
    code, _, err = learned("classify", "inbox/0.jpg")
    assert code == 4 and 'Profile "my_objects" is damaged.' in err and "litecli adapt" in err
    assert learned("adapt", "my_objects")[0] == 0  # as it says
    assert learned("classify", "inbox/0.jpg")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"image_size":32', b'"image_size":40', "cannot be run"),
        (b'"num_features":24', b'"num_features":23', "Its features are 24 numbers"),
        (b'"image_size":32', b'"image_size":-1', "image_size -1"),
    ],
)
def test_row_44_a_model_that_is_not_what_it_says(learned, own_home, old, new, words) -> None:
    path = own_home / "models" / "tiny" / "model.safetensors"
    data = path.read_bytes().replace(old.replace(b'"', b'\\"'), new.replace(b'"', b'\\"'))
    path.write_bytes(data)
    code, _, err = learned("adapt", "my_objects", "--replace")
    assert code == 4 and words in err and "Traceback" not in err


def test_row_44_a_model_whose_features_are_not_finite(learned, own_home, write_model) -> None:
    path = write_model(own_home / "models" / "tiny") / "model.safetensors"
    tensors, metadata = storage.read_tensors(path)
    tensors["backbone.conv.bias"][:] = float("inf")
    storage.write_tensors(path, tensors, metadata)
    code, _, err = learned("adapt", "my_objects")
    assert code == 4 and "Its features contain NaN or infinity" in err


def test_row_45_a_profile_names_no_device(learned) -> None:
    tensors, metadata = storage.read_tensors(library.profile_path())
    header = json.loads(metadata["litecli"])
    assert not [key for key in (*tensors, *header, *header["check"]) if "device" in key]
    answers = [
        learned("classify", "inbox/0.jpg", "--json", *flags)
        for flags in ((), ("--device", "cpu"), ("--device", "mps"))
    ]
    assert {(code, out) for code, out, _ in answers} == {(0, answers[0][1])}
