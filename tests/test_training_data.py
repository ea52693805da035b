"""The data of a run: what is trained on, and what is held out."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.photos import images
from litecli.pictures import gpu_decoding, training_data
from litecli.pictures.pixels import PixelStore
from litecli.tasks import drawn_classes
from litecli.tasks.episodes import Episode
from litecli.training import episodic, image_pool, run_setup

from .small_runs import SIDE, opened


def save_folder(root: Path, classes: list[str], photos: int, shade: int = 0) -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(photos):
            colour = (10 * number, 10 * index, shade)
            Image.new("RGB", (16, 16), colour).save(root / name / f"{index}.png")
    return root


def test_train_and_validation_folders_may_share_their_name(
    config: TrainConfig, tmp_path: Path
) -> None:
    train = save_folder(tmp_path / "train" / "birds", ["robin", "tit"], 3)
    val = save_folder(tmp_path / "val" / "birds", ["wren", "crow", "tit"], 3, shade=200)
    data = opened(replace(config, data=(str(train),), val=str(val)))
    assert [source.classes for source in data.training] == [("robin", "tit")]
    assert [source.classes for source in data.validation] == [("crow", "tit", "wren")]
    assert data.overlaps == ("validation overlaps training in 1 classes (tit)",)
    assert f"{data.overlaps[0]}: its accuracy will flatter" in data.warnings
    numbers = [n for pool in data.validation[0].support for n in pool]
    assert all(data.squares(n)[0, 0, 2] > 150 for n in numbers)
    with pytest.raises(LiteError, match="--strict-split") as caught:
        opened(replace(config, data=(str(train),), val=str(val), strict_split=True))
    assert caught.value.code == ExitCode.USAGE


def test_photos_that_are_in_both_folders_are_counted(config: TrainConfig, tmp_path: Path) -> None:
    train = save_folder(tmp_path / "train" / "birds", ["robin", "tit"], 3)
    val = save_folder(tmp_path / "val" / "birds", ["wren", "crow"], 3, shade=200)
    for number in (1, 2):
        shutil.copy(train / "tit" / f"{number}.png", val / "wren" / f"copy_{number}.png")
    settings = replace(config, data=(str(train),), val=str(val))
    says = "validation overlaps training in 2 photos (wren/copy_1.png)"
    assert f"{says}: its accuracy will flatter" in opened(settings).warnings
    with pytest.raises(LiteError, match=re.escape(says)):
        opened(replace(settings, strict_split=True))


@pytest.mark.parametrize("size, left", [(2, 4), (9, 9), (99, 25)])
def test_a_small_task_keeps_its_classes(size: int, left: int) -> None:
    labels = np.repeat(np.arange(4), (1, 3, 16, 5))
    whole = Episode("things", 100 + np.arange(25), labels, np.arange(4), np.arange(4))
    small = episodic.small_task(whole, size, torch.Generator().manual_seed(3))
    assert len(small.support) == len(set(small.support.tolist())) == left
    assert set(small.support_labels.tolist()) == {0, 1, 2, 3}
    assert (labels[small.support - 100] == small.support_labels).all()
    assert small.query is whole.query


def test_validation_users_of_orbit_are_not_trained_on(config: TrainConfig, tmp_path: Path) -> None:
    for root, user in (("train", "P1"), ("validation", "P2")):
        for thing in (f"keys of {user}", f"mug of {user}"):
            for part in ("clean", "clutter"):
                folder = tmp_path / root / user / thing / part
                save_folder(folder, ["video"], 2, shade=sum(map(ord, str(folder))) % 250)
    data = opened(
        replace(config, data=(str(tmp_path / "train"),), val=str(tmp_path / "validation"))
    )
    assert [source.name for source in data.training] == ["P1"]
    assert [source.name for source in data.validation] == ["P2"]
    assert not any("overlaps" in warning for warning in data.warnings)


def test_an_orbit_tree_is_trained_on_by_its_own_split(config: TrainConfig, tmp_path: Path) -> None:
    for number, (root, user) in enumerate((("train", "P1"), ("validation", "P2"), ("test", "P3"))):
        for thing in ("keys", "mug"):  # the same words of everybody, for other things
            for part in ("clean", "clutter"):
                shade = 80 * number + 40 * (thing == "mug") + 10 * (part == "clean")
                save_folder(tmp_path / root / user / thing / part, ["video"], 2, shade)
    whole = replace(config, data=(str(tmp_path),), val="", strict_split=True)
    data = opened(whole)
    assert [source.name for source in data.training] == ["P1"]
    assert [source.name for source in data.validation] == ["P2"]
    assert f"{tmp_path / 'test'} is for tests: left out" in data.warnings
    assert data.overlaps == ()
    given = opened(replace(whole, val=str(tmp_path / "test")))
    assert [source.name for source in given.validation] == ["P3"]
    same = replace(whole, val=str(tmp_path / "train"))
    with pytest.raises(LiteError, match=r"2 classes \(keys\)"):
        opened(same)


def test_classes_are_held_out_where_no_validation_folder_is_given(
    config: TrainConfig, tmp_path: Path
) -> None:
    root = save_folder(tmp_path / "many", [f"class {n:02}" for n in range(16)], 3)
    (root / "class 00" / "0.png").write_bytes(b"broken")
    data = opened(replace(config, data=(str(root),), val=""))
    (training_part,), (validation_part,) = data.training, data.validation
    assert (len(training_part.classes), len(validation_part.classes)) == (11, 5)
    assert not set(training_part.classes) & set(validation_part.classes)
    assert "1 files could not be read as photos and are left out" in data.warnings
    assert data.overlaps == ()


def test_data_that_cannot_be_used_is_refused(
    config: TrainConfig, photos: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(LiteError, match="4 usable classes are too few") as caught:
        opened(replace(config, val=""))
    assert caught.value.code == ExitCode.INPUT and "--val" in caught.value.fix
    with pytest.raises(LiteError, match="needs DATA") as caught:
        opened(replace(config, data=()))
    assert caught.value.code == ExitCode.USAGE


def test_without_data_drawn_objects_are_the_classes(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_classes, "DRAWN_CLASSES", 15)
    monkeypatch.setattr(drawn_classes, "DRAWN_VIEWS", 3)
    data = opened(replace(config, data=(), val=""))
    assert (len(data.training[0].classes), len(data.validation[0].classes)) == (10, 5)
    assert data.squares(44).shape == (SIDE, SIDE, 3)
    assert not np.array_equal(data.squares(43), data.squares(44))


def test_a_store_is_read_as_the_stages_read_it(config: TrainConfig) -> None:
    data = opened(config)
    assert isinstance(data.store, PixelStore) and data.store.usable.all()
    numbers, labels = image_pool.labelled_images(data.training)
    assert np.bincount(labels).tolist() == [6, 6, 6, 6] and len(set(numbers.tolist())) == 24


def test_on_a_gpu_the_photos_are_decoded_there(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = save_folder(tmp_path / "train", ["robin", "tit"], 3)
    config = replace(config, data=(str(train),), val=str(train), workers=3)
    asked: list[tuple[object, ...]] = []

    def read_all(paths: list[Path], side: int, workers: int, *, device: torch.device) -> object:
        asked.append((side, workers, device.type))
        return iter([images.load_pixels(path, side) for path in paths])

    monkeypatch.setattr(gpu_decoding, "read_all", read_all)
    for device in ("cpu", "cuda"):
        cache = tmp_path / device
        for _ in run_setup.prepared_data(config, cache, torch.device(device)):
            pass
    assert asked == [(round(config.image_size / 0.875), 3, "cuda")]
    assert (tmp_path / "cpu/pixels.u8").read_bytes() == (tmp_path / "cuda/pixels.u8").read_bytes()


def test_photos_need_no_name_in_utf_8(config: TrainConfig, tmp_path: Path) -> None:
    train = save_folder(tmp_path / "train", ["robin", "caf\udce9"], 3)
    (train / "robin" / "0.png").rename(train / "robin" / "\udce9.png")
    data = opened(replace(config, data=(str(train),), val=str(train)))
    assert isinstance(data.store, PixelStore) and data.store.usable.all()
    assert len(data.store.usable) == 12


def test_another_process_reads_what_the_first_one_decoded(
    config: TrainConfig, tmp_path: Path
) -> None:
    train = save_folder(tmp_path / "train", ["robin", "tit"], 3)
    config = replace(config, data=(str(train),), val=str(train))
    first = opened(config)
    cache = Path(config.out) / "cache"
    assert training_data.shared_data(config, cache).training == first.training
    before = sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir())
    Image.new("RGB", (16, 16), "red").save(train / "robin" / "new.png")
    with pytest.raises(LiteError, match="other photos") as error:
        training_data.shared_data(config, cache)
    assert error.value.code == ExitCode.MACHINE
    assert sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir()) == before
    drawn = replace(config, data=(), val="")
    with pytest.raises(LiteError, match="other photos"):
        training_data.shared_data(drawn, cache)
    opened(drawn)
    assert training_data.shared_data(drawn, cache).key == opened(drawn).key


def test_a_class_alone_is_left_out(config: TrainConfig, tmp_path: Path) -> None:
    """Its loss is 0 and its accuracy 100 %, whatever the network does."""
    two = save_folder(tmp_path / "two", ["robin", "tit"], 3)
    one = save_folder(tmp_path / "one", ["wren"], 3)
    data = opened(replace(config, data=(str(two), str(one)), val=str(two)))
    assert [source.name for source in data.training] == ["two"]
    assert "one: one class has no other to be told from, left out" in data.warnings
    for folders in ({"data": (str(one),), "val": str(two)}, {"data": (str(two),), "val": str(one)}):
        with pytest.raises(LiteError, match="too few to train and validate on") as error:
            opened(replace(config, **folders))
        assert error.value.code == ExitCode.INPUT


def test_classes_held_out_of_one_folder_may_be_in_another(
    config: TrainConfig, tmp_path: Path
) -> None:
    names = [f"bird {n:02}" for n in range(16)]
    one, two = (save_folder(tmp_path / n, names, 3, shade=9 * len(n)) for n in ("a", "other"))
    settings = replace(config, data=(str(one),), val="")
    assert opened(settings).overlaps == ()
    both = replace(settings, data=(str(one), str(two)))
    data = opened(both)
    trained = {name for source in data.training for name in source.classes}
    shared = [name for s in data.validation for name in s.classes if name in trained]
    assert shared  # or this test says nothing
    assert data.overlaps == (
        f"validation overlaps training in {len(shared)} classes ({shared[0]})",
    )
    with pytest.raises(LiteError, match="--strict-split"):
        opened(replace(both, strict_split=True))


def test_photos_held_out_of_one_folder_may_be_in_another(
    config: TrainConfig, tmp_path: Path
) -> None:
    names = [f"bird {n:02}" for n in range(15)]
    one = save_folder(tmp_path / "one", names, 3)
    settings = replace(config, data=(str(one),), val="")
    held_out = opened(settings).validation[0].classes[0]
    two = save_folder(tmp_path / "two", ["crow", "wren"], 3, shade=200)
    shutil.copy(one / held_out / "1.png", two / "crow" / "same.png")
    overlaps = opened(replace(settings, data=(str(one), str(two)))).overlaps
    assert overlaps == (f"validation overlaps training in 1 photos ({held_out}/1.png)",)
