"""Named profiles that are renamed, removed, chosen, or no longer there."""

import json
from pathlib import Path

import numpy as np
import pytest

from litecli import library, storage
from litecli.config import PROFILE_KEY
from litecli.errors import ExitCode
from litecli.library.model_files import Model

from .small_library import make_profile, refusal, undone


def test_rename_keeps_the_current_one_and_its_undo() -> None:
    library.save_profile(make_profile(seed=1))
    library.save_profile(make_profile(seed=2))
    library.save_profile(make_profile("kitchen"))
    library.use_profile("garage")
    refusal(ExitCode.USAGE, library.rename_profile, "garage", "kitchen")
    refusal(ExitCode.MISSING, library.rename_profile, "nothing", "x")
    library.rename_profile("garage", "shed")
    assert library.profile_names() == ["kitchen", "shed"]
    assert library.load_profile().name == "shed"
    before = undone("shed")
    np.testing.assert_array_equal(before.embeddings, make_profile(seed=1).embeddings)
    assert before.name == "shed"


def test_remove_leaves_nothing_of_a_profile(own_home: Path) -> None:
    for seed in (1, 2):
        library.save_profile(make_profile(seed=seed))
    library.save_profile(make_profile("kitchen"))
    library.use_profile("garage")
    library.remove_profile("garage")
    assert not list(own_home.rglob("garage*.safetensors"))
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert (error.what, error.fix) == ("No profile is current.", "litecli profiles use kitchen")
    refusal(ExitCode.MISSING, library.remove_profile, "garage")


def test_a_profile_of_a_removed_ones_name_was_not_chosen() -> None:
    library.save_profile(make_profile())
    library.remove_profile("garage")
    library.save_profile(make_profile(), make_current=False)
    assert library.current_profile_name() is None


def test_a_current_profile_whose_file_is_gone_is_none() -> None:
    library.save_profile(make_profile()).unlink()
    assert library.current_profile_name() is None
    assert refusal(ExitCode.MISSING, library.load_profile).what == "No profile yet."


def test_choosing_a_profile_leaves_the_chosen_model_and_the_reverse(tiny_model: Model) -> None:
    for name in ("a", "b"):
        library.add_model(tiny_model.folder, name)
        library.save_profile(make_profile(name))
    library.use_model("b")
    library.use_profile("a")
    assert library.find_model().name == "b"
    library.use_model("a")
    assert library.current_profile_name() == "a"


@pytest.mark.parametrize("schema", [1, 999])
def test_a_version_of_another_litecli_is_renamed_too(schema: int) -> None:
    for seed in range(2):
        library.save_profile(make_profile(seed=seed))
    before = storage.home() / "profiles" / "previous"
    tensors, metadata = storage.read_tensors(before / "garage.safetensors")
    header = json.loads(metadata[PROFILE_KEY]) | {"schema": schema}
    metadata = {PROFILE_KEY: json.dumps(header)}
    storage.write_tensors(before / "garage.safetensors", tensors, metadata)
    whole = (before / "garage.safetensors").read_bytes()
    library.rename_profile("garage", "shed")
    assert library.profile_names() == ["shed"] and library.load_profile("shed").name == "shed"
    assert {path.name: path.read_bytes() for path in before.iterdir()} == {
        "shed.safetensors": whole
    }


@pytest.mark.parametrize("text", ['{"model": [], "profile": {}}', '{"model": 1}', "[" * 10_000])
def test_settings_that_make_no_sense_are_none(tiny_model: Model, text: str) -> None:
    library.add_model(tiny_model.folder)
    library.save_profile(make_profile())
    (storage.home() / "state.json").write_text(text)
    assert library.find_model().name == "tiny" and library.current_profile_name() is None
    library.use_profile("garage")
    assert library.current_profile_name() == "garage"
