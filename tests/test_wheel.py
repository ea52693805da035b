"""The wheel holds the package, the shipped models inside it, and nothing else at top level."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "-o",
        str(out),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_top_level_is_litecli_alone(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"litecli"}


def test_every_source_and_data_file_is_inside(names: set[str]) -> None:
    files = [p for p in (ROOT / "litecli").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert len(files) > 20
    for path in files:
        assert path.relative_to(ROOT).as_posix() in names


def test_every_shipped_model_is_inside(names: set[str]) -> None:
    folders = [p for p in (ROOT / "models").iterdir() if p.is_dir()]
    assert folders, "no shipped model"
    for folder in folders:
        for file in ("model.safetensors", "encoder.onnx", "recipe.toml", "README.md"):
            assert f"litecli/models/{folder.name}/{file}" in names


def test_tests_and_licence_are_where_they_belong(names: set[str]) -> None:
    assert not any("test" in Path(name).name.lower() for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
