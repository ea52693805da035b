"""Networks, weights and runs that are not as they should be: rows 53 to 64 of the bad inputs.

Rows 59 and 62, settings out of range and bad config files, are in test_cli_train_config.py.
"""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from litecli.networks import devices, hub, model_folder
from litecli.training import best_model, episodic, loop, supervised
from litecli.training.run_folder import RunFolder

NETWORK = "test_byobnet"
SMALL = (
    *("--backbone", NETWORK, "--weights", "none", "--image-size", "32", "--device", "cpu"),
    *("--pretrain-images", "16", "--way", "2-3", "--support", "8", "--query", "2", "--chunk", "4"),
    *("--query-batch", "4", "--lite-h", "3", "--tasks", "4", "--tasks-per-step", "2"),
    *("--val-tasks", "2", "--precision", "fp32", "--workers", "1", "--out", "o"),
)
Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(run, write_objects, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`train(flags)`: a run on four classes that takes a second, without graph and curves."""
    for name in ("photos", "checking"):
        write_objects(dict.fromkeys(("keys", "mug", "bowl", "wallet"), 4), name)
    write = lambda model, config, folder, texts: folder.mkdir(parents=True, exist_ok=True)  # noqa: E731
    monkeypatch.setattr(best_model, "write_model", write)
    monkeypatch.setattr(RunFolder, "draw_curves", lambda self: None)
    return lambda *flags: run("meta-train", "photos", "--val", "checking", *SMALL, *flags)


def no_network(*_: object, **__: object) -> bool:
    return False


def test_row_53_no_network(run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []  # a list, as an error would be taken for a network that fails

    def refuse(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(hub, "answers", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for command in (("models", "fetch"), ("meta-train", "photos", "--backbone")):
        code, _, err = run(*command, "mobilenetv3_small_050")
        assert code == 5 and "weights of mobilenetv3_small_050: no network" in err
        assert "save its model.safetensors, about 6 MB, from https://" in err
        assert "Try: --weights FILE" in err
        assert err.splitlines()[-2].endswith("mobilenetv3_small_050.lamb_in1k.")
    assert not asked


def cached_weights(folder: Path, name: str, data: bytes, sha256: str) -> Path:
    """A file in the cache of the hub's client, as a download leaves it."""
    place, revision = folder / f"models--timm--{name}", "0" * 40
    for part in ("blobs", "refs", f"snapshots/{revision}"):
        (place / part).mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    blob = place / "blobs" / sha256
    blob.write_bytes(data)
    (place / "snapshots" / revision / "model.safetensors").symlink_to(blob)
    return blob


@pytest.mark.parametrize("kind", ["whole", "cut off", "of another network"])
def test_row_54_half_downloaded_or_wrong_weights(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = "mobilenetv3_small_050.lamb_in1k"
    network = timm.create_model("mobilenetv3_small_050")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if kind == "cut off":
        data = data[: len(data) // 2]
    elif kind == "of another network":
        save_file({"conv1.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
        data = (tmp_path / "w.safetensors").read_bytes()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    blob = cached_weights(tmp_path / "hub", name, data, sha256)
    monkeypatch.setattr(model_folder, "write_model", lambda *_: None)  # exporting takes seconds
    code, _, err = run("models", "fetch", name, "--offline")
    if kind == "whole":
        assert "damaged" not in err and code != 5
        return
    assert code == 5 and f"The downloaded weights of timm/{name} are damaged." in err, err
    assert f"Try: delete {blob} and try again" in err


def test_row_55_no_such_device(train: Train, write_objects, run, monkeypatch) -> None:
    write_objects({"keys": 3, "mug": 3})
    code, _, err = run("adapt", "my_objects", "--device", "cuda")
    assert code == 6 and "no CUDA device" in err and "Try: --device cpu" in err
    code, _, err = run("adapt", "my_objects", "--device", "mps")
    assert code == 0 and "Note: adapt runs on the processor; --device mps is ignored." in err
    monkeypatch.setattr(devices.torch.cuda, "is_available", no_network)
    code, _, err = train("--device", "cuda")
    assert code == 6 and "No cuda device on this machine." in err and "--device auto" in err


def test_row_56_out_of_memory(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 17 TiB")

    monkeypatch.setattr(episodic.lite, "task_backward", full)
    code, _, err = train()
    assert code == 6 and "Out of memory" in err and "Traceback" not in err
    assert "this needs about" in err and "--chunk 2 --query-batch 2 --resume" in err
    assert Path("o/last/state.safetensors").is_file()


def test_row_56_out_of_memory_before_and_in_validation(train: Train, monkeypatch) -> None:
    def full(*_: object, **__: object) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(loop, "validate", full)
    code, _, err = train()  # a smaller batch of the supervised stage would not help
    assert code == 6 and "--chunk 2 --query-batch 2 --resume" in err
    monkeypatch.setattr(torch.nn.Conv2d, "forward", full)
    code, _, err = train("--out", "p")
    assert code == 6 and "The memory of this machine was not enough." in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("eficientnet_b0", "Did you mean efficientnet_b0"),
        ("resnet50.nope", "resnet50 has no weights nope.\n  Available: a1_in1k"),
        ("timm/resnet50", "Try: hf-hub:timm/resnet50 in its place\n"),
    ],
)
def test_row_57_names_of_networks(run, name: str, words: str) -> None:
    for command in (("meta-train", "photos", "--backbone"), ("models", "fetch")):
        code, _, err = run(*command, name)
        assert code == 2 and words in err


class Code(nn.Module):
    """A whole module in a checkpoint: unpickling it runs code."""


def test_row_58_weights_with_code_or_of_another_network(train: Train, tmp_path: Path) -> None:
    torch.save(Code(), tmp_path / "x.pt")
    code, _, err = train("--weights", "x.pt")
    assert code == 4 and "x.pt cannot be loaded as plain weights." in err
    assert "contains code, which litecli never runs" in err
    torch.save({f"layer{n}.weight": torch.zeros(3) for n in range(9)}, tmp_path / "x.pt")
    code, _, err = train("--weights", "x.pt")
    assert code == 4 and "x.pt holds weights of another network: " in err
    first = err.splitlines()[-2].partition("The first are ")[2]
    assert len(first.removesuffix(".").split(", ")) == 3


def test_row_60_a_task_larger_than_the_data(train: Train) -> None:
    flags = ("--way", "50", "--support", "500", "--query", "10")
    code, out, _ = train(*flags, "--dry-run")
    assert code == 0 and out.count("at most 4 classes, not 50") == 1
    code, _, err = train(*flags)
    assert code == 0 and err.count("Warning: tasks have at most 4 classes, not 50") == 1
    assert "at most 4 classes, not 50" in Path("o/log.txt").read_text()


def test_row_60_more_classes_than_support_photos(train: Train) -> None:
    _, out, _ = train("--way", "9-9", "--support", "4", "--dry-run")
    assert out.count("Warning: tasks have at most 4 classes, a photo each, not 9") == 1


def test_h_of_all_support_photos_is_said_once(train: Train) -> None:
    said = "tasks have at most 8 support photos, and --lite-h 8: all of them get a gradient"
    for flags, times in ((("--lite-h", "8"), 1), ((), 0), (("--gradient", "exact"), 0)):
        _, out, _ = train(*flags, "--dry-run")
        assert out.count(said) == times
    assert train("--lite-h", "8")[2].count(said) == 1


def test_row_61_shared_classes(train: Train) -> None:
    code, _, err = train()
    assert code == 0
    assert "Warning: validation overlaps training in 4 classes (bowl): its accuracy will" in err
    code, _, err = train("--out", "p", "--strict-split")
    assert code == 2 and "overlaps training in 4 classes" in err and "--val DATA" in err


def test_row_63_a_used_run_folder_and_other_settings(train: Train) -> None:
    assert train()[0] == 0
    code, _, err = train()
    assert code == 2 and "o is not empty" in err and "--resume" in err
    code, _, err = train("--resume", "--lr", "0.5")
    assert code == 2 and "other settings: lr" in err
    code, _, err = train("--resume", "--tasks", "8", "--workers", "2")
    assert code == 0
    # The line that goes on with a run reads its recipe: it is the longer run's now.
    assert "tasks = 8\n" in Path("o/recipe.toml").read_text()
    code, _, err = train("--resume", "--tasks", "2")
    assert code == 2 and "steps of the episodes stage already" in err and "--tasks" in err
    assert "tasks = 8\n" in Path("o/recipe.toml").read_text()


def test_a_file_where_the_run_would_be(train: Train) -> None:
    Path("taken").write_text("")
    for out in ("taken", "taken/run"):
        code, _, err = train("--out", out)
        assert code == 2 and "taken is a file" in err and "--out" in err


def test_teachers_that_are_not_there_are_missed_before_anything_is_decoded(train: Train) -> None:
    for flags in (("--dry-run",), ()):
        code, _, err = train("--teacher", "nobody", *flags)
        assert code == 4 and "nobody" in err
    assert not Path("o/cache").exists()


def test_row_63_a_damaged_state(train: Train) -> None:
    assert train()[0] == 0
    assert train("--resume", "--tasks", "8")[0] == 0
    state = Path("o/last/state.safetensors")
    state.write_bytes(state.read_bytes()[:99])
    code, _, err = train("--resume", "--tasks", "8")
    assert code == 0 and f"Warning: {state} is damaged: going on from the state before it" in err
    for name in ("last", "prev"):
        Path(f"o/{name}/state.safetensors").write_bytes(b"")
    code, _, err = train("--resume", "--tasks", "12")
    assert code == 4 and "no state to resume" in err


def test_row_64_a_loss_that_is_not_a_number(train: Train, monkeypatch) -> None:
    plain = supervised.SupervisedStage.loss
    monkeypatch.setattr(
        supervised.SupervisedStage, "loss", lambda self, *batch: plain(self, *batch) * float("nan")
    )
    code, _, err = train("--seed", "7")
    assert code == 6 and "not a number at step 1 of the supervised stage (seed 7)" in err
    slower = "lr = 0.0003 below [pretrain] in the recipe (--config)"  # --lr is the episodes'
    assert err.endswith(f"  Try: {slower} and another --out\n")  # fp32 is what this was
    code, _, err = train("--seed", "7", "--precision", "bf16", "--out", "p")
    assert code == 6 and f"{slower} or --precision fp32, and another --out" in err
    assert Path("o/last/state.safetensors").is_file()


def test_every_row_has_a_test() -> None:
    """The table has 65 rows; each is named by the test that holds it."""
    import re

    files = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    named = {int(n) for text in files for n in re.findall(r"^def test_row_(\d+)_", text, re.M)}
    assert named == set(range(1, 66))
