"""The supervised stage: its batches, its teachers, its sizes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from litecli.config import PretrainConfig, TrainConfig
from litecli.networks import backbone
from litecli.networks.inputs import standardised
from litecli.networks.model import FewShotModel
from litecli.pictures.atlas import Atlas
from litecli.tasks.episodes import Source
from litecli.training import image_pool, supervised, supervised_batches
from litecli.training.teacher import LiveTeacher

from .small_models import write_network
from .small_runs import NETWORK, SIDE, opened
from .small_stages import supervised_stage


def test_supervised_batches_are_pure_and_go_through_every_photo_in_new_views(
    config: TrainConfig,
) -> None:
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    stage = supervised.SupervisedStage(model, config, data.squares, data.training, None, False)
    batches = [stage.batch(k) for k in range(6)]  # two epochs of 24 photos
    for k in (5, 0, 3):
        for found, expected in zip(stage.batch(k), batches[k], strict=True):
            assert torch.equal(found, expected)
    for epoch in (batches[:3], batches[3:]):
        counts = torch.bincount(torch.cat([batch.labels for batch in epoch]))
        assert counts.tolist() == [6, 6, 6, 6]
    # One photo alone: the same in each epoch but for its view.
    one = [Source("one", ("a",), ((7,),))]
    alone = supervised.SupervisedStage(model, config, data.squares, one, None, False)
    views = torch.cat([alone.batch(k).pixels[:1] for k in range(3)])
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[1], views[2])


def taught_stage(config: TrainConfig, model: FewShotModel, folder: Path, **changes: Any) -> Any:
    """A supervised stage with a live teacher, and the data it learns from."""
    settings = {"teacher_views": 0, "teacher": ("t",), "label_smoothing": 0.0, **changes}
    config = replace(config, pretrain=replace(config.pretrain, **settings))
    data, network = opened(config), write_network(folder)
    with_maps = config.pretrain.map_weight > 0
    taught = LiveTeacher([network], torch.device("cpu"), False, with_maps)
    squares, sources = data.squares, data.training
    return supervised.SupervisedStage(model, config, squares, sources, taught, False)


def test_composites_are_imitated_but_never_classified(config: TrainConfig, tmp_path: Path) -> None:
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    losses = {}
    for mix in (0.0, 0.5, 1.0):
        stage = taught_stage(config, model, tmp_path / str(mix), mix=mix)
        labels = torch.cat([stage.batch(k).labels for k in range(3)])
        share = float((labels == supervised_batches.NO_LABEL).float().mean())
        assert share == mix if mix in (0, 1) else 0.2 < share < 0.8
        batch = stage.batch(0)
        model.network.eval().requires_grad_(False)
        stage.extra.requires_grad_(False)
        nothing = batch._replace(labels=torch.full_like(batch.labels, supervised_batches.NO_LABEL))
        losses[mix] = float(stage.loss(batch) - stage.loss(nothing))
        kept = batch.labels != supervised_batches.NO_LABEL
        inputs = standardised(stage._lit(batch), model.backbone.preprocess)
        logits = stage.extra["classifier"](model.network(inputs))
        if mix < 1:  # the mean over those that have a label
            expected = torch.nn.functional.cross_entropy(logits[kept], batch.labels[kept])
            assert losses[mix] == pytest.approx(float(expected), rel=1e-4)
    assert losses[1.0] == 0 < losses[0.0]


def test_a_student_sees_what_its_live_teacher_sees(config: TrainConfig, tmp_path: Path) -> None:
    """A student that is its teacher, with maps that are the right ones, has nothing to learn."""
    network = write_network(tmp_path / "same")
    built = backbone.from_model(network.folder, network.config)
    model = FewShotModel(built, "cosine")
    stage = taught_stage(config, model, tmp_path / "again", mix=0.7, map_weight=3.0)
    layers = {"projector": 0, "map0": 1, "map1": 2}
    batch = stage.batch(0)
    before = stage.loss(batch).item()
    with torch.no_grad():
        for name, n in layers.items():
            mean, std = stage.teacher._means[n].float(), stage.teacher._stds[n].float()
            layer = stage.extra[name]
            layer.weight.copy_(torch.diag(1 / std).view(layer.weight.shape))
            layer.bias.copy_(-mean / std)
        labels = torch.full_like(batch.labels, supervised_batches.NO_LABEL)
        alike = float(stage.loss(batch._replace(labels=labels)))
        mirrored = batch._replace(labels=labels, pixels=batch.pixels.flip(-1))
        assert float(stage.loss(mirrored)) == pytest.approx(0, abs=1e-3)  # both see it mirrored
    assert alike == pytest.approx(0, abs=1e-3) and before > 1


def test_crops_of_large_images_may_be_a_small_part_of_them() -> None:
    shares = image_pool.smallest_crops(np.array([0, 30, 64, 80, 400]))
    np.testing.assert_allclose(shares, [0.4, 0.4, (40 / 64) ** 2, 0.25, 0.12])


def test_an_atlas_makes_the_pictures_that_threads_would(config: TrainConfig) -> None:
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    sources, taught = data.training, None
    atlas = Atlas(data.store, torch.device("cpu"))
    stages = [
        supervised.SupervisedStage(model, config, data.squares, sources, taught, False, made)
        for made in (None, atlas)
    ]
    slow, fast = (stage.batch(1) for stage in stages)
    assert torch.equal(slow.labels, fast.labels) and torch.equal(slow.lights, fast.lights)
    assert (slow.pixels.float() - fast.pixels).abs().mean() < 10
    assert torch.isfinite(stages[1].loss(fast))


def test_images_grow_in_the_last_half_of_the_supervised_stage(config: TrainConfig) -> None:
    growing = PretrainConfig(image_size=96, last_image_size=170).image_sizes
    assert growing == [96, 128, 160, 170]
    sizes = [supervised_batches.image_size(growing, k, 12) for k in range(12)]
    assert sizes == [96] * 7 + [128] * 2 + [160] * 2 + [170]
    assert supervised_batches.image_size([96], 11, 12) == 96
    pretrain = replace(config.pretrain, image_size=32, last_image_size=48)
    config = replace(config, pretrain=pretrain)
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    stage = supervised.SupervisedStage(model, config, data.squares, data.training, None, False)
    assert stage.batch(0).pixels.shape[-2:] == (32, 32)
    assert stage.batch(stage.num_steps - 1).pixels.shape[-2:] == (48, 48)


def test_balance_brings_small_collections_as_often_as_large_ones(config: TrainConfig) -> None:
    large = Source("large", ("a", "b"), (tuple(range(45)), tuple(range(45, 90))))
    small = Source("small", ("c",), (tuple(range(90, 100)),))
    assert image_pool.image_shares([large, small], 0.0) is None
    for balance, share in ((1.0, 0.5), (0.5, 0.25)):  # sizes 90 and 10: their roots are 3 : 1
        shares = image_pool.image_shares([large, small], balance)
        assert shares is not None and len(shares) == 100
        np.testing.assert_allclose([shares.sum(), shares[90:].sum()], [1, share])
    config = replace(config, pretrain=replace(config.pretrain, balance=1.0, images=800, batch=8))
    data, model = opened(config), FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    few, many = (Source("few", ("a",), ((3,),)), Source("many", ("b",), (tuple(range(4, 23)),)))
    stage = supervised.SupervisedStage(model, config, data.squares, [few, many], None, False)
    labels = torch.cat([stage.batch(k).labels for k in range(100)])
    assert 0.4 < float((labels == 0).float().mean()) < 0.6  # one image of twenty


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_all_that_learns_is_clipped_together(config: TrainConfig, clip: float) -> None:
    config = replace(config, pretrain=replace(config.pretrain, clip=clip))
    data, model = opened(config), FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    stage = supervised.SupervisedStage(model, config, data.squares, data.training, None, False)
    stage.backward(stage.batch(0))
    learned = [*model.network.parameters(), *stage.extra.parameters()]
    norm = torch.linalg.vector_norm(
        torch.stack([p.grad.norm() for p in learned if p.grad is not None])
    )
    assert float(norm) == pytest.approx(clip, rel=1e-3) if clip else float(norm) > 0.1


def test_a_gradient_of_the_classifier_that_is_no_number_is_seen(config: TrainConfig) -> None:
    data, model = opened(config), FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    stage = supervised.SupervisedStage(model, config, data.squares, data.training, None, False)
    before = [buffer.clone() for buffer in model.network.buffers()]
    bias: torch.Tensor = stage.extra["classifier"].bias  # type: ignore[assignment]
    bias.register_hook(lambda gradient: gradient * float("inf"))
    assert np.isnan(stage.backward(stage.batch(0)))
    assert all(map(torch.equal, model.network.buffers(), before))


def test_steps_do_not_depend_on_the_number_of_threads(config: TrainConfig) -> None:
    data, losses = opened(config), []
    for workers in (1, 2, 0, 7):
        torch.manual_seed(0)
        model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
        settings, squares = replace(config, workers=workers), data.squares
        stage = supervised.SupervisedStage(model, settings, squares, data.training, None, False)
        losses.append(list(stage.steps(0)))
    assert losses[1:] == losses[:1] * 3


def test_without_augmentation_a_picture_is_the_photo_as_it_is(config: TrainConfig) -> None:
    data = opened(config)
    plain = replace(config, augment=False, pretrain=replace(config.pretrain, teacher=()))
    batches = supervised_batches.Batches(plain, data.squares, data.training, None)
    batch = batches.batch(0)
    assert not batch.lights.any()
    whole = {data.squares(int(n)).mean().round(1) for n in batches.numbers}
    side = data.squares(0).shape[0]
    assert side != config.pretrain.image_size  # the pictures are resized, and no more
    for picture in batch.pixels.float():
        assert min(abs(float(picture.mean()) - mean) for mean in whole) < 1
    again = batches.batch(3)  # another epoch
    assert {p.numpy().tobytes() for p in again.pixels} <= {
        p.numpy().tobytes() for k in range(3) for p in batches.batch(k).pixels
    }


def test_what_a_network_drops_by_chance_follows_from_the_seed() -> None:
    """Dropout and stochastic depth draw from torch's generator, which anything may have moved."""
    outcomes = []
    for moved in (0, 5):
        stage = supervised_stage(images=24)
        network = stage.model.network
        network.register_forward_hook(
            lambda module, _, found: functional.dropout(
                torch.as_tensor(found), 0.5, module.training
            )
        )
        for _ in stage.steps(0):
            torch.rand(moved)
        outcomes.append([p.detach().clone() for p in network.parameters()])
    assert all(map(torch.equal, *outcomes))
