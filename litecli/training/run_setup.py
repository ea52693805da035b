"""What a training run starts from: the model with its first weights, the data, the teacher."""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from litecli import threads
from litecli.config import TrainConfig, head_of_learner
from litecli.errors import ExitCode, LiteError
from litecli.library.model_library import find_model
from litecli.networks import backbone as backbones
from litecli.networks.model import FewShotModel
from litecli.networks.parts import batch_norm_layers, shape_for
from litecli.pictures import gpu_decoding
from litecli.pictures.atlas import Atlas, atlas_for
from litecli.pictures.training_data import TrainingData, open_data
from litecli.training import teacher
from litecli.training.events import Preparing
from litecli.training.imitation import ImitationTasks
from litecli.training.teacher import KeptTeacher, LiveTeacher


def initial_model(config: TrainConfig, device: torch.device, offline: bool) -> FewShotModel:
    """The model before its first step, on `device`; raises as `backbone.build`.

    And as `find_model`, for a teacher that is not there: before photos are decoded for it.
    """
    for name in (*config.pretrain.teacher, *config.imitation.teacher):
        find_model(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # for random weights
        built = backbones.build(
            config.backbone,
            config.weights,
            config.image_size,
            offline=offline,
            pooled=config.pooled,
        )
        check_learnable(config, built.network)
        if config.projection or built.projected:  # to another power, perhaps
            built = backbones.with_projection(built, config.feature_power)
        if config.uses_film:  # the set encoder's passes are for one look at a photo
            one_look = replace(built.preprocess, closer_looks=(), support_looks=0)
            built = replace(built, preprocess=one_look)
        model = FewShotModel(built, head_of_learner(config.learner, config.head), config.uses_film)
    model.to(device)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def check_learnable(config: TrainConfig, network: torch.nn.Module) -> None:
    """Refuse what cannot learn: LiteError (USAGE).

    Random batch-norm networks by frozen-statistics episodes alone; and a network of one image size
    by a supervised stage of another.
    """
    fresh = config.weights == "none" and config.pretrain.images == 0
    if fresh and batch_norm_layers(network):
        raise LiteError(
            f"{config.backbone} from random weights does not learn from episodes alone.",
            "Its batch-norm statistics are frozen in episodes; a supervised stage sets them first.",
            "--pretrain-images 200000   (or --weights auto)",
            code=ExitCode.USAGE,
        )
    for size in config.pretrain.image_sizes if config.pretrain.images else ():
        try:
            shape_for(network, size)
        except ValueError as error:
            raise LiteError(
                f"{config.backbone} takes no images of {size} px, which its supervised stage has.",
                str(error),
                f"image_size = {config.image_size} below [pretrain] in a --config file",
                code=ExitCode.USAGE,
            ) from error


def prepared_data(
    config: TrainConfig, cache: Path, device: torch.device
) -> Generator[Preparing, None, TrainingData]:
    """Decode the photos into `cache` where they are not there yet; returns the data of the run."""
    on_gpu = partial(gpu_decoding.read_all, device=device) if device.type == "cuda" else None
    for item in open_data(config, cache, on_gpu):
        if isinstance(item, TrainingData):
            return item
        yield Preparing("photos", *item)
    raise AssertionError("the data never came")


def prepared_teacher(
    config: TrainConfig, data: TrainingData, cache: Path, device: torch.device, bf16: bool
) -> Generator[Preparing, None, KeptTeacher | LiveTeacher | None]:
    """The teachers; features that are kept are computed first where they are not in `cache` yet.

    None without a teacher. Raises LiteError as `find_model` and `backbone.from_model`.
    """
    settings = config.pretrain
    if not settings.teacher:
        return None
    models = [find_model(name) for name in settings.teacher]
    if not settings.teacher_views:
        return LiveTeacher(models, device, bf16, settings.map_weight > 0)
    views, workers = settings.teacher_views, threads.workers(config.workers)
    for done, total in teacher.cache_features(
        models, data.store, data.key, cache, views, config.seed, workers
    ):
        yield Preparing("teacher features", done, total)
    width = sum(model.config.num_features for model in models)
    features = teacher.read_features(cache, views, len(data.store), width)
    return KeptTeacher(features, data.store.sides, config.seed)


def imitation_tasks(
    model: FewShotModel,
    config: TrainConfig,
    data: TrainingData,
    bf16: bool,
    atlas: Atlas | None = None,
) -> ImitationTasks | None:
    """The tasks without labels, if there is a teacher for them; raises as `prepared_teacher`.

    `atlas` is that of an earlier stage, if one has made it.
    """
    names, device = config.imitation.teacher, model.log_scale.device
    if not names:
        return None
    taught = LiveTeacher([find_model(name) for name in names], device, bf16, with_maps=False)
    atlas = atlas or atlas_for(data.store, device)
    return ImitationTasks(model, config, data.squares, data.training, taught, atlas)
