"""`litecli audit`: its table, its files, and what it refuses."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from litecli import library, storage
from litecli.audit import plot
from litecli.audit.moments import Row
from litecli.cli import main
from litecli.config import BACKBONE_PREFIX, MODEL_KEY
from litecli.networks.backbone import build
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import model_config

TASK = ("--way", "2", "--support", "6", "--query", "1", "--tasks", "1", "--draws", "2")
SMALL = (*TASK, "--image-size", "32", "--lite-h", "4,2")


@pytest.fixture
def audit(
    capsys: pytest.CaptureFixture[str],
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, str, str]]:
    """Run `litecli audit ...` with timm's own tiny network -> (exit code, stdout, stderr)."""
    built = build("test_resnet", "none", 64)
    model = FewShotModel(built, "cosine")
    config = model_config("tiny", model, "protonets", "cosine")
    tensors = {BACKBONE_PREFIX + n: v.numpy() for n, v in built.network.state_dict().items()}
    tensors["head.log_scale"] = model.log_scale.detach().numpy()
    folder = own_home / "models" / "tiny"
    metadata = {MODEL_KEY: storage.to_json(config.to_dict())}
    storage.write_tensors(folder / "model.safetensors", tensors, metadata)
    (folder / "encoder.onnx").write_bytes(b"")
    library.use_model("tiny")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["audit", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def write_classes(folder: Path) -> Path:
    for name in ("keys", "mug"):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            colour = (30 * number, 200 if name == "mug" else 20, 0)
            Image.new("RGB", (40, 40), colour).save(folder / name / f"{number}.png")
    return folder


def test_a_program_gets_tabs_and_files(audit: Any, tmp_path: Path) -> None:
    code, out, err = audit(*SMALL, "--csv", "t.csv", "--plot", "p.png")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    header = ["part", "gradient", "H", "bias", "noise", "spread", "cosine", "biased"]
    assert lines[0] == header and all(len(line) == len(header) for line in lines)
    small_tasks = [["small-task", "2"], ["small-task", "4"]]
    expected = [["lite", "2"], ["lite", "4"], ["stratified", "2"], ["stratified", "4"]]
    assert [line[1:3] for line in lines[3:]] == expected + small_tasks
    assert lines[1][1] == "exact" and lines[1][3:] == ["0.0000"] * 3 + ["1.0000", "not seen"]
    assert lines[2][1:3] == ["none", "0"] and lines[2][7] == "yes"
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == lines
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "Wrote t.csv" in err and "Wrote p.png" in err
    assert "1 task of drawn objects: 2 classes" in err and "Gradients 14/15" in err
    assert audit(*SMALL, "--csv", "t.csv", "--plot", "p.png")[0] == 0  # they are its own


@pytest.mark.parametrize(("option", "name"), [("--csv", "photo.jpg"), ("--plot", "photo.png")])
def test_nothing_of_a_persons_is_written_over(
    audit: Any, tmp_path: Path, option: str, name: str
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    code, _, err = audit(*SMALL, option, name)
    assert (code, (tmp_path / name).read_bytes()) == (2, before)
    assert "litecli did not write it" in err


@pytest.mark.parametrize(("option", "name"), [("--csv", "t.csv"), ("--plot", "p.png")])
def test_nothing_is_written_among_the_photos(
    audit: Any, tmp_path: Path, option: str, name: str
) -> None:
    data = write_classes(tmp_path / "things")
    code, _, err = audit(data, *SMALL, option, f"things/{name}")
    assert code == 2 and "among your photos" in err and f"{option} {tmp_path / name}" in err
    assert not (data / name).exists()


def test_json_has_all_that_was_asked_and_found(audit: Any, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "things")
    code, out, err = audit(data, *SMALL, "--learner", "simple-cnaps", "--json", "--seed", 3)
    assert code == 0
    record = json.loads(out)
    rows = record.pop("rows")
    assert record == {
        "schema": "litecli.audit/1",
        "model": "tiny",
        "learner": "simple-cnaps",
        "new_learner": True,
        "data": "things",
        "way": 2,
        "support": 6,
        "query": 1,
        "tasks": 1,
        "draws": 2,
        "lite_h": [2, 4],
        "seed": 3,
        "skipped": 0,
        "image_size": 32,
    }
    keys = {"gradient", "h", "part", "bias", "noise", "spread", "cosine", "evidence", "biased"}
    assert all(row.keys() == keys for row in rows)
    assert {row["part"] for row in rows} == {"all", "set encoder"}
    shared = [row for row in rows if row["gradient"] == "lite, shared"]
    assert len(shared) == 4 and all(row["biased"] and row["noise"] == 0 for row in shared)
    assert "Note: tiny has no simple-cnaps learner; this one is new and random." in err


def test_a_person_gets_an_aligned_table(
    audit: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("litecli.cli.output.Output.for_people", True)
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = audit(*SMALL, "--learner", "simple-cnaps")
    assert code == 0 and "\t" not in out
    assert "Gradient of all that is learned" in out and "Gradient of the set encoder" in out
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert len({line.index("H") for line in lines if "gradient" in line}) == 1
    assert "three standard errors" in out


def test_what_is_odd_is_said(audit: Any) -> None:
    code, _, err = audit(*SMALL, "--lite-h", "1,50")
    assert code == 0
    assert "photos or more is the whole support set: exact." in err
    assert "a small task keeps a photo of every class: 2 at least" in err
    assert "Note" not in audit(*SMALL)[2]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--lite-h", "5,x"], 2, "not a list of numbers"),
        (["--lite-h", "0"], 2, "not a list of numbers"),
        (["--lite-h", "1" * 5000], 2, "not a list of numbers"),
        (["--seed", str(2**63)], 2, "--seed"),
        (["--plot", "picture.jpg"], 2, "--plot picture.png"),
        (["--learner", "maml"], 2, "maml has no support gradient"),
        (["--learner", "protonet"], 2, "There is no learner protonet"),
        (["--way", "1"], 2, "--way"),
        (["--draws", "1"], 2, "--draws"),
        (["--model", "nothing"], 4, "nothing"),
        (["nowhere"], 2, "No folder nowhere"),
        (["empty"], 3, "no classes"),
        (["--image-size", "32", "--csv", "empty"], 2, "--csv empty/audit.csv"),
    ],
)
def test_what_is_refused(
    audit: Any, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    (tmp_path / "empty").mkdir()
    found, _, err = audit(*SMALL, *arguments)
    assert found == code and text in err
    assert "Traceback" not in err


def test_the_picture_has_a_line_of_panels_for_each_part() -> None:
    def rows(part: str) -> list[Row]:
        names = ("lite", "small-task")
        lines = [Row(n, h, part, 0.1, 0.1, 1.0 / h, 0.8, 0.0, 5.0) for n in names for h in (5, 10)]
        return [Row("none", 0, part, 0.5, 0.0, 0.0, 0.9, 0.0, math.inf), *lines]

    def height(picture: bytes) -> int:
        return int.from_bytes(picture[20:24])

    one = plot.draw(rows("all"), "one")
    two = plot.draw(rows("all") + rows("set encoder"), "two")
    assert height(two) > 1.5 * height(one)
