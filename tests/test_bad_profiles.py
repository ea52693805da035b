"""Profiles, models and machines that are not as they should be: rows 39 to 45 and 65.

Signals and locks are met by a real process; the rest runs in this one.
"""

import errno
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litecli import library, storage
from litecli.config import PROFILE_SCHEMA
from litecli.library import data_folder

# `litecli`, but it stops at the first call of a function and says so, until it gets a line.
STOPS = """
import importlib, sys
module, _, name = sys.argv.pop(1).partition(":")
owner = importlib.import_module(module)
*outer, last = name.split(".")
for part in outer:
    owner = getattr(owner, part)
plain = getattr(owner, last)

def wait_once(*arguments):
    setattr(owner, last, plain)
    print("waiting", flush=True)
    sys.stdin.readline()
    return plain(*arguments)

setattr(owner, last, wait_once)

from litecli.cli import main

sys.exit(main())
"""


@pytest.fixture
def learned(run, write_objects, put, photo):
    """`run`, with a profile of keys, mug and bowl, and new photos in inbox/."""
    write_objects({"keys": 5, "mug": 5, "bowl": 5})
    assert run("adapt", "my_objects", "-q")[0] == 0
    for number, name in enumerate(("keys", "mug", "bowl")):
        put(f"inbox/{number}.jpg", photo(name, 500 + number))
    return run


@pytest.fixture
def changed(learned, put, photo) -> bytes:
    """The saved profile's bytes; the folder has one photo more by now."""
    put("my_objects/keys/new.jpg", photo("keys", 900))
    return library.profile_path().read_bytes()


def kept() -> list[str]:
    """The files in the folder of profiles, temporary ones included."""
    files = library.profile_path().parent.rglob("*")
    return sorted(path.name for path in files if path.is_file())


def rewrite(**changes: object) -> None:
    """Change entries of the saved profile's header."""
    path = library.profile_path()
    tensors, metadata = storage.read_tensors(path)
    header = json.loads(metadata["litecli"]) | changes
    storage.write_tensors(path, tensors, {"litecli": json.dumps(header)})


@pytest.mark.parametrize("reason", ["disk full", "no permission to write"])
def test_row_39_nothing_can_be_written(learned, changed, monkeypatch, reason: str) -> None:
    def fails(file: int) -> None:
        raise OSError(28 if reason == "disk full" else 30, "of the system")

    monkeypatch.setattr(os, "fsync", fails)
    code, out, err = learned("adapt", "my_objects")
    what, why, fix = err.splitlines()[-3:]
    assert code == 6 and "Learned" not in out
    assert what == f'Error: Could not save profile "my_objects" ({reason}).'
    assert why.startswith(f"  It needs less than 1 MB in {library.profile_path().parent}")
    assert why.endswith("; what was there before is untouched.")
    assert fix == "  Try: add -o FILE to save elsewhere"
    assert library.profile_path().read_bytes() == changed and kept() == ["my_objects.safetensors"]


@pytest.mark.parametrize("where", ["litecli.networks.encoder:Encoder.encode", "os:fsync"])
def test_row_40_ctrl_c_in_adapt(learned, changed, where: str, program) -> None:
    process = program(where, "adapt", "my_objects", code=STOPS)
    assert process.stdout and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "Stopped." and "Traceback" not in err
    assert library.profile_path().read_bytes() == changed and kept() == ["my_objects.safetensors"]


def test_row_41_two_adapts_at_once(
    learned, changed, monkeypatch: pytest.MonkeyPatch, program
) -> None:
    monkeypatch.setattr(data_folder, "LOCK_SECONDS", 0.1)
    first = program("os:fsync", "adapt", "my_objects", code=STOPS)
    assert first.stdout and first.stdout.readline() == "waiting\n"  # it holds the lock
    code, _, err = learned("adapt", "my_objects")
    assert code == 6 and "Another litecli is saving this profile." in err
    assert library.profile_path().read_bytes() == changed
    out, err = first.communicate("\n", timeout=60)
    assert first.returncode == 0 and "Saved profile" in out and "Traceback" not in err
    assert len(library.load_profile().photo_paths) == 16


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


def test_row_65_no_place_to_write(learned, tmp_path: Path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    model = library.find_model("tiny").folder
    monkeypatch.setenv("LITECLI_HOME", str(blocked))
    code, _, err = learned("adapt", "my_objects", "--model", model)
    assert code == 6 and f"cannot write to its data folder {blocked}" in err and "bug" not in err
    assert f"  {blocked / 'locks'}: not a directory.\n" in err
    code, out, _ = learned("doctor")
    assert code == 6 and str(blocked) in out and "set LITECLI_HOME" in out


def test_row_65_no_home(learned, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LITECLI_HOME")
    monkeypatch.setattr(storage, "user_data_path", nobody)
    for command in (("adapt", "my_objects"), ("classify", "inbox/0.jpg"), ("profiles",)):
        code, _, err = learned(*command)
        assert code == 6 and "set LITECLI_HOME to a folder you can write to" in err
    assert learned("doctor")[0] == 6


def lock(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Let nobody look below a folder, not even the administrator, whom permissions do not stop."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            below = isinstance(path, str | os.PathLike) and place in Path(path).parents
            if below or (path == place and real is not os_stat):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *arguments, **options)

        return call

    os_stat = os.stat
    for module, name in ((os, "stat"), (os, "listdir"), (os, "scandir"), (io, "open")):
        monkeypatch.setattr(module, name, refusing(getattr(module, name)))


NEED_MODELS = ("adapt my_objects", "models", "models use tiny", "evaluate my_objects", "demo show")
NEED_PROFILES = (
    *("classify inbox/0.jpg", "classify inbox/0.jpg -p my_objects", "report", "adapt my_objects"),
    *("profiles", "profiles show", "profiles use my_objects", "profiles undo"),
)


@pytest.mark.parametrize(
    ("place", "commands"),
    [
        (".", (*NEED_MODELS, *NEED_PROFILES)),
        ("home", (*NEED_MODELS, *NEED_PROFILES)),
        ("home/models", (*NEED_MODELS, "classify inbox/0.jpg")),
        ("home/profiles", NEED_PROFILES),
    ],
)
def test_row_65_a_data_folder_one_may_not_look_into(
    learned, tmp_path: Path, monkeypatch, place: str, commands: tuple[str, ...]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "home").rename(closed / "home")
    monkeypatch.setenv("LITECLI_HOME", str(closed / "home"))
    lock(monkeypatch, closed / place)
    for command in commands:
        code, out, err = learned(*command.split())
        assert (code, out) == (6, "") and err.startswith("Error: No permission to look at ")
        assert "set LITECLI_HOME to a folder of your own" in err
    code, out, err = learned("doctor")
    assert (code, err) == (6, "") and "Problem: No permission to look at " in out


def test_a_file_where_one_may_not_look_is_refused(learned, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "closed").mkdir()
    lock(monkeypatch, tmp_path / "closed")
    for command in ("adapt my_objects -o", "classify inbox/0.jpg --csv", "report -o"):
        code, out, err = learned(*command.split(), tmp_path / "closed" / "x.csv")
        assert (code, out) == (6, "") and "x.csv: no permission." in err


def test_a_model_where_one_may_not_look(learned, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(library.model_path(), tmp_path / "closed" / "model")
    lock(monkeypatch, tmp_path / "closed")
    code, out, err = learned("adapt", "my_objects", "-m", tmp_path / "closed" / "model")
    assert (code, out) == (6, "") and "No permission to look at" in err
    assert "LITECLI_HOME" not in err


@pytest.mark.parametrize("now", [0.0, 4e9, 2e11])
def test_row_65_an_odd_clock(learned, changed, monkeypatch, now: float) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    for name in ("keys/new.jpg", "mug/IMG_0.jpg"):
        os.utime(Path("my_objects") / name, (now, min(now, 4e9)))
    assert learned("adapt", "my_objects")[0] == 0
    assert learned("classify", "inbox")[0] == 0
