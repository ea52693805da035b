"""How well strangers are told from known objects, and whether what `adapt` says of it is true.

    python tests/benchmarks/unknowns.py MODEL COLLECTION COLLECTION... [--tasks 300]

MODEL is a model's name or folder, a COLLECTION a folder of class folders. Every task learns a few
photos of a few objects, drawn at random, and is asked about new photos of them (kept: the share
called known), of the collection's other objects (near), and of the other collections (far).
AUROC is that of litecli's novelty, of the cosine to the nearest class mean, and of the softmax
confidence. Printed are the shares of strangers taken for an object that `adapt` foretells, beside
what came true. ECE is the calibration error of the confidence, 15 bins, tasks pooled.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litecli.errors import PhotoError
from litecli.heads import confidence
from litecli.heads.head import Head
from litecli.heads.heads import HEADS
from litecli.library.model_library import Model, find_model
from litecli.library.profile import GREY_SIDE
from litecli.networks.encoder import Encoder
from litecli.networks.model_heads import head_of
from litecli.networks.strangers import strangers_of
from litecli.personal import same_shot, selfcheck
from litecli.photos import images
from litecli.tasks.datasets import read_dataset
from litecli.threads import in_order

SETTINGS = ((5, 1), (5, 2), (5, 3), (5, 5), (20, 5))  # objects, photos of each
ASKED = 5  # new photos of each object
NEAR, FAR = 60, 60  # strangers in a task


@dataclass(frozen=True)
class Collection:
    """Features of a collection's photos and of each of their crops, and each object's photos."""

    name: str
    features: np.ndarray  # [N, D]
    crops: np.ndarray  # [N, V, D]
    greys: np.ndarray  # [N, 256]
    photos: list[np.ndarray]


@dataclass(frozen=True)
class Task:
    """Photo numbers of one task: support and query with their labels."""

    support: np.ndarray
    labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


def read_collection(folder: Path, model: Model) -> Collection:
    """Encode every photo of a folder of class folders that can be read."""
    dataset = read_dataset([folder])
    encoder, preprocess = Encoder(model.folder), model.config.preprocess

    def read(path: Path) -> np.ndarray | None:
        try:
            seen, _ = images.load_looks(path, preprocess, preprocess.support_looks)
            return images.to_input(seen, preprocess)
        except PhotoError:
            return None

    usable = np.zeros(len(dataset.paths), bool)
    own = len(preprocess.look_shares)
    number = own + preprocess.support_looks
    crops = np.zeros((len(usable), number, model.config.num_features), np.float32)
    greys = np.zeros((len(usable), GREY_SIDE**2), np.int8)
    for n, pixels in enumerate(in_order(read, dataset.paths)):
        if pixels is not None:
            crops[n], greys[n] = encoder.encode(pixels), same_shot.greys_of(pixels[0])
            usable[n] = True
    pools = [np.array(pool) for pool in dataset.keep(usable).sources[0].support]
    return Collection(folder.name, crops[:, :own].mean(axis=1), crops, greys, pools)


def crops_of(collection: Collection, photos: np.ndarray) -> np.ndarray | None:
    """What `adapt` has of the crops of these photos: nothing where the model looks once."""
    return collection.crops[photos] if collection.crops.shape[1] > 1 else None


def draw(
    collection: Collection, counts: list[int], asked: int, rng: np.random.Generator
) -> Task | None:
    """A task whose object number n, drawn at random, has counts[n] photos; None if none can be.

    An object has to have one photo more than it gives, to be asked about.
    """
    order = rng.permutation(len(collection.photos)).tolist()
    support, query = [], []
    for count in sorted(counts, reverse=True):
        at = next((n for n in order if len(collection.photos[n]) > count), None)
        if at is None:
            return None
        order.remove(at)
        photos = rng.permutation(collection.photos[at])
        support.append(photos[:count])
        query.append(photos[count : count + asked])
    labels = [np.full(len(own), label) for label, own in enumerate(support)]
    query_labels = [np.full(len(own), label) for label, own in enumerate(query)]
    parts = (support, labels, query, query_labels)
    return Task(*(np.concatenate(part) for part in parts))


def chosen_head(model: Model, name: str | None) -> Head | None:
    """The head that `adapt --head NAME` uses; None = chosen for every task."""
    name = name or model.config.head
    return None if name == "auto" else head_of(model, name)


def auroc(known: np.ndarray, strange: np.ndarray) -> float:
    """The chance that a stranger [M] scores higher than a known photo [N]."""
    higher = strange[:, None] > known[None, :]
    return float(np.mean(higher + 0.5 * (strange[:, None] == known[None, :])))


def calibration_error(shares: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error of confidences [M] in 15 bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((shares * 15).astype(int), 14)
    return sum(
        float(np.mean(bins == b) * abs(shares[bins == b].mean() - right[bins == b].mean()))
        for b in np.unique(bins)
    )


def answers(
    check: selfcheck.Check,
    known: np.ndarray,
    labels: np.ndarray,
    photos: np.ndarray,
    crops: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three scores [M] of being a stranger for photos [M, D], and the object [M] they are named."""
    num_classes = int(labels.max()) + 1
    params = check.head.fit(known, labels, num_classes, crops=crops, **check.options)
    shares = confidence.probabilities(check.head.score(params, photos), check.temperature)
    cosine = HEADS["cosine"]
    means = cosine.fit(known, labels, num_classes, strength=0.0, lam=0.0)
    scores = {
        "novelty": confidence.novelty(photos, known, labels, crops=crops),
        "cosine": -cosine.score(means, photos).max(1),
        "softmax": -shares.max(1),
    }
    return scores, shares.argmax(1)


def measure(
    collection: Collection,
    others: list[Collection],
    way: int,
    shots: int,
    tasks: int,
    head: Head | None,
    strangers: np.ndarray | None,
) -> Iterator[tuple[dict[str, float], np.ndarray, np.ndarray]]:
    """What every task showed, and of its query photos the confidence and whether it was right."""
    rng = np.random.default_rng(0)
    features = collection.features
    elsewhere = np.concatenate([c.features[np.concatenate(c.photos)] for c in others])
    for _ in range(tasks):
        task = draw(collection, [shots] * way, ASKED, rng)
        assert task is not None
        known, labels = features[task.support], task.labels
        greys = collection.greys[task.support]
        crops = crops_of(collection, task.support)
        check = selfcheck.check_support(known, labels, way, greys, head, strangers, crops)
        chosen = set(task.support.tolist())
        left = [pool for pool in collection.photos if chosen.isdisjoint(pool.tolist())]
        near = rng.choice(np.concatenate(left), NEAR)
        far = elsewhere[rng.choice(len(elsewhere), FAR)]
        asked = np.concatenate([features[task.query], features[near], far])
        scores, named = answers(check, known, labels, asked, crops)
        ends = [len(task.query), len(task.query) + NEAR]
        found = {}
        for name, score in scores.items():
            own, close, remote = np.split(score, ends)
            found |= {f"near {name}": auroc(own, close), f"far {name}": auroc(own, remote)}
        accepted = scores["novelty"] <= check.unknown_threshold
        found["kept"], found["near"], found["far"] = map(np.mean, np.split(accepted, ends))
        found["near said"] = check.false_accepts.get("withheld_objects", np.nan)
        found["far said"] = check.false_accepts.get("other_things", np.nan)
        right = named[: ends[0]] == task.query_labels
        yield found, -scores["softmax"][: ends[0]], right


def main() -> None:
    parser = argparse.ArgumentParser(description="Unknown things: AUROC, calibration, promises.")
    parser.add_argument("model")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--head", help="as adapt's; else the model's own")
    arguments = parser.parse_args()
    if len(arguments.data) < 2:
        parser.error("far strangers come from a second collection")
    model = find_model(arguments.model)
    head, strangers = chosen_head(model, arguments.head), strangers_of(model)
    collections = [read_collection(folder, model) for folder in arguments.data]
    print(
        f"{model.name}, head {arguments.head or model.config.head}, {arguments.tasks} tasks a row"
    )
    print("                        AUROC near              AUROC far         ", end="")
    print("         near taken   far taken")
    print("collection  objects x  novelty cosine softmax  novelty cosine softmax  ", end="")
    print("kept   said  real   said  real    ECE")
    for collection in collections:
        others = [other for other in collections if other is not collection]
        for objects, shots in SETTINGS:
            enough = sum(len(pool) > shots for pool in collection.photos)
            way = min(objects, enough - 1, len(collection.photos) - 1)
            if way < min(objects, 6):
                continue
            rows = list(measure(collection, others, way, shots, arguments.tasks, head, strangers))
            mean = {key: float(np.mean([row[key] for row, _, _ in rows])) for key in rows[0][0]}
            shares = np.concatenate([share for _, share, _ in rows])
            right = np.concatenate([hit for _, _, hit in rows])
            near, far = (
                "".join(
                    f"{mean[f'{where} {name}']:>8.3f}" for name in ("novelty", "cosine", "softmax")
                )
                for where in ("near", "far")
            )
            print(
                f"{collection.name:<12}{way:>4} x {shots:<2} {near} {far} {mean['kept']:>8.3f}  "
                f"{mean['near said']:.3f} {mean['near']:.3f}  {mean['far said']:.3f} "
                f"{mean['far']:.3f}  {calibration_error(shares, right):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
