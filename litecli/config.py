"""Every default of models and runs, in one place. Nothing but the standard library is needed."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MODEL_SCHEMA = 1
MODEL_KEY = "litecli"  # of the config in the header of a model file
WEIGHTS_FILE = "model.safetensors"  # every weight of a model, and its config
BACKBONE_PREFIX = "backbone."  # of the names of the network's tensors in a model file
ENCODER_GRAPH = "encoder.onnx"  # the network: images -> features
TASK_GRAPH = "task.onnx"  # the set encoder of a model with FiLM
PROFILE_KEY = "litecli"  # of the description in the header of a profile file
PROFILE_SCHEMA = 5  # 5: support looks are bilinear; profiles of before are learned again
LARGEST_IMAGE = 2048  # pixels, side of the square that a network sees
MOST_CLOSER_LOOKS = 7  # each costs a pass of the network
MOST_SUPPORT_LOOKS = 32
LEAST_POWER = 0.1  # of features
MAX_PHOTOS = 200  # of one object, that adapt uses
LARGEST_SEED = 2**32 - 1  # the largest that numpy and torch both take in every generator

LEARNERS = ("protonets", "ridge", "cnaps", "simple-cnaps", "maml")
GRADIENTS = ("lite", "exact", "full", "none", "small-task")
HEAD_NAMES = ("cosine", "euclidean", "ridge", "mahalanobis")
# The head that a learner's episodes train, where it is not for the user to choose. "generated" is
# a part of the model: its weights come with it.
LEARNER_HEADS = {"ridge": "ridge", "cnaps": "generated", "simple-cnaps": "mahalanobis"}
FILM_LEARNERS = ("cnaps", "simple-cnaps")


def head_of_learner(learner: str, otherwise: str) -> str:
    """The head that a learner's episodes train: its own, or `otherwise` where it has none."""
    return LEARNER_HEADS.get(learner, otherwise)


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes a network's input; stored in the model and used by every path.

    The short side is resized to `resize_side`, the centre square of `image_size` is cut out, and
    each channel (0 to 1) becomes (value - mean) / std. With closer looks, the middle of the photo
    is seen again, larger, every other time mirrored; its features are the mean over all looks.
    `support_looks` more are taken at photos to learn from (photos/support_looks.py): a head that
    learns from each look learns from them too, and the features stay what they are.
    """

    image_size: int = 224  # pixels, side of the square the network sees
    crop_pct: float = 0.875  # image_size / resize_side
    interpolation: str = "bicubic"  # or "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    closer_looks: tuple[float, ...] = ()  # shares of the short side
    support_looks: int = 0

    @property
    def look_shares(self) -> tuple[float, ...]:
        """Share of the short side that each look shows."""
        return (self.crop_pct, *self.closer_looks)

    @property
    def resize_side(self) -> int:
        """Pixels of the short side before the centre crop (timm's rounding)."""
        return math.floor(self.image_size / self.crop_pct)


@dataclass(frozen=True)
class ModelConfig:
    """What a model folder says of itself; travels as JSON in the header of model.safetensors."""

    name: str
    architecture: str  # timm's name of the network
    num_features: int  # D, length of one feature vector
    preprocess: Preprocess = Preprocess()
    architecture_args: dict[str, Any] = field(default_factory=dict)  # extra timm.create_model args
    learner: str = "protonets"
    head: str = "auto"  # the head `adapt` and `evaluate` use unless told otherwise
    trained_head: str = ""  # the head that its episodes trained; "" where none did
    pooled: bool = False  # the network without the layers that follow its pooling
    projected: bool = False  # a linear map of its features, as wide, behind it
    feature_power: float = 1.0  # to which the projection takes them first, their signs kept
    film: tuple[str, ...] = ()  # norm layers that get new values from each support set
    inner_steps: int = 0  # a model of maml: its gradient steps on a support set, and their rate
    inner_lr: float = 0.0
    licence: str = "unknown"
    origin: str = ""  # one line: where the weights come from
    schema: int = MODEL_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ModelConfig":
        """Read `to_dict`'s form.

        Raises KeyError, TypeError or ValueError when a field is missing or of the wrong type.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        preprocess = dict(values.pop("preprocess"))
        for key in ("mean", "std", "closer_looks"):
            preprocess[key] = tuple(preprocess.get(key, ()))
        values["film"] = tuple(values.get("film", ()))
        config = cls(preprocess=Preprocess(**preprocess), **values)
        _check_model(config)
        return config


def _check_model(config: ModelConfig) -> None:
    """Raise ValueError or TypeError when a model cannot be what it says of itself."""
    seen = config.preprocess
    texts = (config.name, config.architecture, config.learner, config.head, config.licence)
    texts += (config.origin, config.trained_head)
    if not all(isinstance(text, str) for text in (*texts, *config.film)):
        raise TypeError("a text field is not a string")
    if type(seen.image_size) is not int or not 8 <= seen.image_size <= LARGEST_IMAGE:
        raise ValueError(f"image_size {seen.image_size}")
    if type(config.pooled) is not bool or type(config.projected) is not bool:
        raise TypeError(f"pooled {config.pooled}, projected {config.projected}")
    if not LEAST_POWER <= config.feature_power <= 1:
        raise ValueError(f"feature_power {config.feature_power}")
    if type(config.num_features) is not int or config.num_features < 1:
        raise ValueError(f"num_features {config.num_features}")
    if not 0.1 <= seen.crop_pct <= 1 or seen.interpolation not in ("bicubic", "bilinear"):
        raise ValueError(f"crop_pct {seen.crop_pct}, interpolation {seen.interpolation}")
    shares = seen.closer_looks
    if not all(0.1 <= share <= 1 for share in shares) or len(shares) > MOST_CLOSER_LOOKS:
        raise ValueError(f"closer_looks {shares}")
    if type(seen.support_looks) is not int or not 0 <= seen.support_looks <= MOST_SUPPORT_LOOKS:
        raise ValueError(f"support_looks {seen.support_looks}")
    if (shares or seen.support_looks) and config.film:
        raise ValueError("closer_looks or support_looks with film, whose passes are for one look")
    numbers = (*seen.mean, *seen.std)
    usable = all(map(math.isfinite, numbers)) and min(seen.std, default=0) > 0
    if len(seen.mean) != 3 or len(seen.std) != 3 or not usable:
        raise ValueError(f"mean {seen.mean}, std {seen.std}")
    if config.head not in ("auto", "generated", *HEAD_NAMES):
        raise ValueError(f"head {config.head}")
    if config.trained_head not in ("", "generated", *HEAD_NAMES):
        raise ValueError(f"trained_head {config.trained_head}")


@dataclass(frozen=True)
class EpisodeConfig:
    """The shape of a task, as in Meta-Dataset's sampler (variable way and shot)."""

    way_min: int = 5
    way_max: int = 50
    support_min: int = 1
    support_max: int = 500  # photos in one support set, at most
    query: int = 10  # query photos per class, at most


@dataclass(frozen=True)
class PretrainConfig:
    """The supervised stage before the episodes; `images` = 0 leaves it out."""

    images: int = 0  # training images seen, all epochs together
    batch: int = 128
    lr: float = 1e-3  # AdamW, after warm-up; a cosine takes it to zero
    weight_decay: float = 0.05
    clip: float = 5.0  # largest gradient norm of all that learns in the stage; 0 = no clipping
    image_size: int = 96  # pixels; smaller than the episodes' size saves time
    last_image_size: int = 0  # pixels that the last half of the stage grows to; 0 = no growth
    balance: float = 0.0  # 0: every image comes as often as any; 1: every collection does
    label_smoothing: float = 0.1
    teacher: tuple[str, ...] = ()  # litecli models (names or folders) whose features are imitated
    teacher_views: int = 2  # random crops of each image that teachers see; 0 = all are new
    mix: float = 0.0  # share of pictures put together from several images; needs teacher_views 0
    teacher_weight: float = 4.0  # weight of (1 - cosine) against the cross-entropy
    map_weight: float = 0.0  # the same of the maps before the pooling; needs teacher_views 0

    @property
    def image_sizes(self) -> list[int]:
        """The sizes in the order they come in: 32 pixels at a time, never smaller."""
        last = max(self.image_size, self.last_image_size)
        return [*range(self.image_size, last, 32), last]


@dataclass(frozen=True)
class NuisanceConfig:
    """The stage that starts a projection (training/nuisance.py); `photos` = 0 leaves it out."""

    photos: int = 0  # training photos that are looked at
    looks: int = 4  # at each
    strength: float = 1.0  # with which what differs between them is shrunk
    balance: float = 0.0  # as in the supervised stage


@dataclass(frozen=True)
class ImitationConfig:
    """Tasks without labels, in place of the others; no `teacher` leaves them out."""

    teacher: tuple[str, ...] = ()  # litecli models (names or folders): how alike they find pictures
    support: int = 100  # pictures of any collection, each a class of its own
    query: int = 40
    power: float = 1.5  # of the teachers' cosines; above 1, what is hardly alike is not at all
    mix: float = 0.0  # share of pictures put together from several images
    balance: float = 0.0  # as in the supervised stage


@dataclass(frozen=True)
class TrainConfig:
    """One `litecli meta-train` run, resolved: with it and the data the run can be repeated."""

    data: tuple[str, ...] = ()  # folders; empty = the built-in drawn objects
    out: str = ""
    learner: str = "protonets"
    head: str = "cosine"  # the head that episodes train protonets with; other learners have one
    film: str = "auto"  # on, off or auto: on for cnaps and simple-cnaps
    backbone: str = "mobilenetv4_conv_small"
    weights: str = "auto"
    pooled: bool = False  # leave out what timm puts between the pooling and its classifier
    projection: bool = False  # a linear map behind the features, which learns as a head does
    feature_power: float = 1.0  # to which a projection takes the features first
    image_size: int = 224
    gradient: str = "lite"
    lite_h: int = 40
    stratified: bool = False
    chunk: int = 40
    episodes: EpisodeConfig = EpisodeConfig()
    query_batch: int = 40
    tasks: int = 10_000
    tasks_per_step: int = 16
    lr: float = 1e-3
    backbone_lr: float = 0.1  # times lr
    warmup: int = 5  # steps of linear warm-up, then a cosine down to zero
    clip: float = 10.0  # largest gradient norm; 0 = no clipping
    inner_steps: int = 15  # maml: gradient steps on a task's support set
    inner_lr: float = 0.001  # maml: rate of those steps
    memory: str = ""  # "8GB": measure, then lower chunk and query_batch to fit
    augment: bool = True
    precision: str = "auto"  # auto, fp32 or bf16
    val: str = ""  # folder; empty = a share of the training classes is held out
    val_share: float = 0.1
    strict_split: bool = False  # refuse a validation folder that shares classes with the training
    val_every: int = 0  # steps; 0 = ten times in a stage
    val_tasks: int = 200
    smallest_crop: float = 0.4  # share of the area an augmented view keeps at least
    seed: int = 0
    workers: int = 0  # decoding threads; 0 = one per core
    device: str = "auto"
    imitation: ImitationConfig = ImitationConfig()
    nuisance: NuisanceConfig = NuisanceConfig()
    pretrain: PretrainConfig = PretrainConfig()

    @property
    def uses_film(self) -> bool:
        """Whether a set encoder gives the network's norm layers new values in each task."""
        return self.film == "on" or (self.film == "auto" and self.learner in FILM_LEARNERS)
