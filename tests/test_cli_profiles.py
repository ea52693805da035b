"""`litecli profiles`, `litecli models` and `litecli doctor`."""

import errno
import json
import tempfile
from pathlib import Path

import pytest

from litecli import library
from litecli.config import ModelConfig
from litecli.library.model_files import open_model
from litecli.threads import workers


@pytest.fixture
def two(run, write_objects):
    """`run`, with the profiles "garage" and (current) "kitchen"."""
    run("adapt", write_objects({"keys": 3, "mug": 3}, "garage"))
    run("adapt", write_objects({"bowl": 3, "wallet": 2}, "kitchen"))
    return run


def test_without_profiles_the_list_says_how_to_make_one(run) -> None:
    code, out, err = run("profiles")
    assert (code, out) == (0, "") and "litecli adapt ./my_objects" in err


def test_the_current_profile_has_a_star(two) -> None:
    code, out, _ = two("profiles")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    assert rows == [["garage", "2", "6", "tiny"], ["*", "kitchen", "2", "5", "tiny"]]
    assert two("profiles", "list")[1] == out
    told = [json.loads(line) for line in two("profiles", "--json")[1].splitlines()]
    assert [(t["schema"], t["name"], t["current"]) for t in told] == [
        ("litecli.profiles/1", "garage", False),
        ("litecli.profiles/1", "kitchen", True),
    ]
    assert told[0]["objects"] == ["keys", "mug"]


def test_a_damaged_profile_is_listed_as_such(two) -> None:
    library.profile_path("garage").write_bytes(b"x")
    code, out, _ = two("profiles")
    assert code == 0 and "damaged" in out.splitlines()[1]


def test_use_show_and_path(two, tmp_path: Path) -> None:
    assert two("profiles", "use", "garage")[0] == 0
    code, out, _ = two("profiles", "show")
    assert code == 0 and out.startswith("garage: 2 objects from 6 photos")
    assert str(tmp_path / "garage") in out
    assert two("profiles", "path")[1] == f"{library.profile_path('garage')}\n"
    told = json.loads(two("profiles", "show", "kitchen", "--json")[1])
    assert told["objects"] == [{"label": "bowl", "photos": 3}, {"label": "wallet", "photos": 2}]
    assert told["unknown_threshold"] == library.load_profile("kitchen").unknown_threshold
    garage = library.load_profile("garage").unknown_threshold
    assert f"  unknown above novelty {garage:.4g}" in out.splitlines()


def test_rename_remove_undo(two, tmp_path: Path) -> None:
    assert two("profiles", "rename", "garage", "shed")[0] == 0
    assert library.profile_names() == ["kitchen", "shed"]
    (tmp_path / "kitchen" / "bowl").rename(tmp_path / "bowl")
    two("adapt", "kitchen")
    code, out, _ = two("profiles", "undo")
    assert code == 0 and "bowl, wallet" in out
    code, out, _ = two("profiles", "remove", "shed")
    assert code == 0 and "shed.safetensors" in out
    assert library.profile_names() == ["kitchen"]


def test_a_profile_is_called_by_the_name_of_its_file(two) -> None:
    path = library.profile_path("garage")
    path.rename(path.with_name("shed.safetensors"))
    code, out, _ = two("profiles", "use", "shed")
    assert (code, out) == (0, '"shed" is the current profile now.\n')
    assert two("profiles", "show")[1].startswith("shed: 2 objects")
    assert json.loads(two("profiles", "show", "--json")[1])["name"] == "shed"
    previous = path.parent / "previous"
    previous.mkdir()
    (previous / "shed.safetensors").write_bytes(library.profile_path("shed").read_bytes())
    assert two("profiles", "undo")[1] == '"shed" is back as it was before: keys, mug\n'


def test_undo_says_where_the_version_before_cannot_be_read(two) -> None:
    path = library.profile_path("garage")
    whole = path.read_bytes()
    path.write_bytes(b"garbage")
    two("adapt", "garage")
    code, out, _ = two("profiles", "undo")
    told = '"garage" is back as it was before. Profile "garage" is damaged.\n'
    assert (code, out) == (0, told) and path.read_bytes() == b"garbage"
    assert two("profiles", "undo")[0] == 0 and path.read_bytes() == whole


def test_files_where_a_name_or_a_profile_is_due(two, put, photo) -> None:
    put("photo.jpg", photo("keys", 1))
    code, _, err = two("classify", "photo.jpg", "-p", "photo.jpg")
    assert code == 4 and err.startswith("Error: photo.jpg is not a profile.\n")
    two("adapt", "garage", "-o", "mine.safetensors")
    for name in ("mine.safetensors", "garage/keys/IMG_0.jpg"):
        code, _, err = two("profiles", "undo", name)
        assert code == 4 and err.startswith(f"Error: {name} is not the name of a saved profile.\n")
    code, _, err = two("models", "add", "garage")
    assert code == 4 and "Try: litecli models list" in err
    assert "name or file" not in two("profiles", "undo", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("profiles", "use", "garge"), 4, "Did you mean garage?"),
        (("profiles", "show", "nothing"), 4, "2 profiles: garage, kitchen"),
        (("profiles", "rename", "garage", "kitchen"), 2, "already"),
        (("profiles", "rename", "garage", "a/b"), 2, "cannot be a name"),
        (("profiles", "remove", "nothing"), 4, "No profile nothing"),
        (("profiles", "undo", "garage"), 4, "garage"),
        (("profiles", "usse", "garage"), 2, "use"),
        (("models", "use", "tinny"), 4, "Did you mean tiny?"),
        (("models", "add", "nowhere"), 4, "not a model"),
        (("models", "remove", "nothing"), 4, "No model nothing"),
        (("models", "fetch", "resnet18", "--head", "x"), 2, "no head x"),
    ],
)
def test_bad_input(two, arguments, code: int, words: str) -> None:
    got, out, err = two(*arguments)
    assert (got, out) == (code, "") and words in err and err.startswith("Error: ")


def test_models(run, tmp_path: Path, write_model) -> None:
    write_model(tmp_path / "other", name="other", seed=1)
    assert run("models", "add", "other", "--name", "mine")[0] == 0
    rows = [line.split() for line in run("models")[1].splitlines()[1:]]
    own = [row for row in rows if str(tmp_path) in row[-1]]
    assert [row[:3] for row in own] == [["mine", "tiny", "32"], ["*", "tiny", "tiny"]]
    assert run("models", "use", "mine")[0] == 0
    assert run("models", "path")[1] == f"{library.model_path('mine')}\n"
    code, out, err = run("models", "show", "mine")
    assert (code, out) == (0, "# tiny\n") and str(library.model_path("mine")) in err
    told = json.loads(run("models", "show", "mine", "--json")[1])
    assert (told["schema"], told["name"], told["num_features"]) == ("litecli.models/1", "mine", 24)
    assert run("models", "remove", "mine")[0] == 0
    assert run("models", "use", "mine")[0] == 4


def test_fetch_makes_a_model_and_adds_it(run, write_model, monkeypatch) -> None:
    from litecli.networks import model_folder

    def fetched(name: str, folder: Path, weights: str, **settings: object) -> ModelConfig:
        assert (name, weights) == ("hf-hub:timm/x.a1", "auto")
        assert settings == {
            "head": "ridge",
            "image_size": 128,
            "closer_looks": (0.5, 0.3),
            "support_looks": 4,
            "pooled": True,
            "offline": True,
            "accept_licence": False,
        }
        write_model(folder, name=folder.name)
        return open_model(folder).config

    monkeypatch.setattr(model_folder, "fetch", fetched)
    typed = (
        *("models", "fetch", "hf-hub:timm/x.a1", "--head", "ridge", "--offline"),
        *("--image-size", "128", "--closer-look", "0.5", "--closer-look", "0.3", "--pooled"),
        *("--support-looks", "4"),
    )
    code, out, err = run(*typed)
    assert code == 0 and str(library.model_path("x.a1")) in out
    assert err.splitlines()[-1] == "Next: litecli models use x.a1"
    err = run(*typed, "--name", "my model")[2]
    assert err.splitlines()[-1] == "Next: litecli models use 'my model'"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18", "--name", "tiny"), "There is a model tiny already."),
        (("hf-hub:timm/tiny",), "There is a model tiny already."),
        (("resnet18", *8 * ("--closer-look", "0.5")), "8 closer looks are too many: 7 at most."),
    ],
)
def test_fetch_refuses_before_it_downloads(run, monkeypatch, arguments, words: str) -> None:
    from litecli.networks import model_folder

    def fetched(*_: object, **settings: object) -> ModelConfig:
        raise AssertionError("it went on")

    monkeypatch.setattr(model_folder, "fetch", fetched)
    code, out, err = run("models", "fetch", *arguments)
    assert (code, out) == (2, "") and words in err


def test_doctor_finds_nothing_wrong(run, own_home: Path) -> None:
    code, out, _ = run("doctor")
    assert code == 0 and "All is well." in out and str(own_home) in out
    assert "torch " in out and "can be read" in out and "tiny (current)" in out
    told = json.loads(run("doctor", "--json")[1])
    assert told["schema"] == "litecli.doctor/1" and told["problems"] == []
    assert told["cores"] == str(workers())  # those that this process may use


def test_doctor_shows_a_home_that_cannot_be_written(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LITECLI_HOME", "/proc/litecli")
    code, out, _ = run("doctor")
    assert code == 6 and "Problem: cannot write to /proc/litecli" in out
    assert "set LITECLI_HOME" in out


@pytest.mark.parametrize("name", ["locks", "profiles", "profiles/previous", "models"])
def test_doctor_tries_what_adapt_writes_to(two, own_home: Path, monkeypatch, name: str) -> None:
    two("adapt", "garage", "--no-thumbnails")  # the version before is kept
    place = own_home / name

    def refused(*, dir: Path, real=tempfile.TemporaryFile) -> object:
        if dir == place:
            raise PermissionError(errno.EACCES, "Permission denied", str(dir))
        return real(dir=dir)

    assert two("doctor")[0] == 0
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)  # the administrator may write anywhere
    code, out, _ = two("doctor")
    assert code == 6 and f"Problem: cannot write to {place} (permission denied): set" in out
    assert "All is well." not in out


def test_doctor_shows_a_damaged_profile(two) -> None:
    library.profile_path("garage").write_bytes(b"damaged")
    code, out, _ = two("doctor")
    assert code == 6 and "profiles      2" in out
    assert 'Problem: Profile "garage" is damaged. See: litecli profiles show garage' in out


def test_doctor_shows_that_there_is_no_home(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITECLI_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    def nobody(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setattr(Path, "expanduser", nobody)
    monkeypatch.setattr("litecli.storage.user_data_path", nobody)
    code, out, _ = run("doctor")
    assert code == 6 and "set LITECLI_HOME" in out and "bug" not in out
