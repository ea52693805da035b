"""Objects small or at the side of a wide photo: what each way of looking makes of them.

    python tests/benchmarks/side_objects.py MODEL COLLECTION... --backgrounds FOLDER...
        [--ordinary COLLECTION...] [--photos 200] [--tasks 150] [--shots 5]

MODEL is a model's name or folder, a COLLECTION a folder of class folders. Objects of each
COLLECTION are put onto photos of the background folders (composites.py). Every task learns a few
photos of five objects, as they are, and is asked about such pictures of other photos of them.

Printed for each rule: right / right and called known, in percent, and false accepts: pictures of
the collection's other objects that are called known. Then the same for the wide photos of each
COLLECTION and --ordinary as they are, beside the false accepts that `adapt` foretells. Last the
cost.
"""

import argparse
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from composites import PLACES, pictures
from PIL import Image
from ways_of_looking import RULES, looks

from litecli.errors import PhotoError
from litecli.heads import confidence
from litecli.heads.choice import choose_head
from litecli.heads.heads import HEADS
from litecli.library.model_library import Model, find_model
from litecli.networks.encoder import Encoder
from litecli.personal import selfcheck, sides
from litecli.photos import images
from litecli.photos.support_looks import to_support_looks
from litecli.tasks.datasets import read_dataset

WAY, STRANGERS, SEED = 5, 60, 5


@dataclass(frozen=True)
class Pictures:
    """Pictures of a collection: seen [M, L, D] by L looks, made of photo `source` [M]."""

    seen: np.ndarray
    source: np.ndarray
    place: np.ndarray  # [M], index into PLACES


@dataclass(frozen=True)
class Collection:
    """Features [N, D], those of each look [N, V, D], and objects [N] of a collection's photos.

    And pictures made of some of them.
    """

    name: str
    features: np.ndarray
    crops: np.ndarray
    objects: np.ndarray
    wide: Pictures  # its own wide photos
    made: Pictures | None


def read_collection(folder: Path, model: Model, grounds: list[Path], count: int) -> Collection:
    """Encode a collection, and `count` of its photos on other photos (none without grounds)."""
    encoder, preprocess = Encoder(model.folder), model.config.preprocess
    dataset = read_dataset([folder])
    pools = dataset.sources[0].support
    objects = np.zeros(len(dataset.paths), np.int64)
    for label, pool in enumerate(pools):
        objects[list(pool)] = label
    rng = np.random.default_rng(SEED)
    each = -(-count // len(pools))
    chosen = {n for pool in pools for n in rng.permutation(pool)[:each].tolist()}

    def see(inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack([encoder.features(looks) for looks in inputs])

    own, more = len(preprocess.look_shares), preprocess.support_looks
    crops = np.zeros((len(objects), own + more, model.config.num_features), np.float32)
    wide, made = [], []
    for number, path in enumerate(dataset.paths):
        try:
            photo = images.open_photo(path, 2 * preprocess.resize_side)
        except PhotoError:
            objects[number] = -1
            continue
        seen = [images.to_looks(photo.image, preprocess)]
        seen += [to_support_looks(photo.image, more, preprocess.image_size)]
        crops[number] = encoder.encode(images.to_input(np.concatenate(seen), preprocess))
        if max(photo.size) >= sides.WIDE * min(photo.size):
            wide.append((see(looks(photo, preprocess)), number, 0))
        if grounds and number in chosen:
            for place, picture in pictures(photo.image, grounds, rng):
                loaded = images.LoadedPhoto(picture, picture.size, ())
                made.append((see(looks(loaded, preprocess)), number, place))
    empty = np.zeros((0, 8, crops.shape[2]))
    parts = [
        Pictures(np.array([r[0] for r in rows]) if rows else empty, *columns(rows))
        for rows in (wide, made)
    ]
    means = crops[:, :own].mean(axis=1)
    return Collection(folder.name, means, crops, objects, parts[0], parts[1] if made else None)


def columns(rows: list[tuple[np.ndarray, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers behind the features of each row."""
    return np.array([r[1] for r in rows], int), np.array([r[2] for r in rows], int)


@dataclass
class Counts:
    """Answers to one kind of question under one rule."""

    right: int = 0
    known: int = 0  # right, and called known
    asked: int = 0
    accepted: int = 0
    strangers: int = 0

    def add(self, label: int, named: int, known: bool) -> None:
        """Count the answer to a picture of object `label`; -1 = of a stranger."""
        if label < 0:
            self.strangers += 1
            self.accepted += known
        else:
            self.asked += 1
            self.right += named == label
            self.known += known and named == label

    def __str__(self) -> str:
        if not self.asked:
            return f"{'-':>8}"
        return f"{100 * self.right / self.asked:4.0f}/{100 * self.known / self.asked:3.0f}"


def measure(
    collection: Collection, model: Model, tasks: int, shots: int
) -> tuple[dict[tuple[str, str], Counts], float]:
    """(rule, kind of picture) -> counts; and the mean of the false accepts that adapt foretells."""
    rng = np.random.default_rng(SEED)
    counts: dict[tuple[str, str], Counts] = {}
    foretold = []
    objects = collection.objects
    able = [c for c in range(objects.max() + 1) if np.sum(objects == c) > shots]
    for _ in range(tasks):
        classes = rng.choice(able, min(WAY, len(able) - 1), replace=False)
        support = [rng.choice(np.flatnonzero(objects == c), shots, replace=False) for c in classes]
        support = np.concatenate(support)
        labels = np.repeat(np.arange(len(classes)), shots)
        known, crops = collection.features[support], None
        if collection.crops.shape[1] > 1:
            crops = collection.crops[support]
        task = known, labels, len(classes)
        name = model.config.head
        if name == "auto":
            head, options = choose_head(*task, crops=crops)
        else:
            head = HEADS[name]
            options = head.options(*task, crops=crops)
        params = head.fit(*task, crops=crops, **options)
        held_out = head.leave_one_out(*task, crops=crops, **options)
        temperature = confidence.fit_temperature(held_out, labels)
        strangeness = confidence.fit_novelty(known, labels, crops=crops)
        threshold = confidence.unknown_threshold(known, labels, crops=crops)
        rates = selfcheck.false_accepts(known, labels, threshold, crops=crops)
        foretold.append(rates["withheld_objects"])
        for pictures_of, wide in ((collection.wide, True), (collection.made, False)):
            if pictures_of is None or not len(pictures_of.source):
                continue
            asked, truth = questions(pictures_of, objects, support, classes, rng)
            seen = pictures_of.seen[asked].astype(np.float32)
            flat = seen.reshape(-1, seen.shape[-1])
            scores = (head.score(params, flat) / temperature).reshape(*seen.shape[:2], -1)
            novelty = confidence.novelty_of(strangeness, flat).reshape(seen.shape[:2])
            for n, (label, place) in enumerate(
                zip(truth, pictures_of.place[asked].tolist(), strict=True)
            ):
                kind = "wide photos" if wide else " ".join(map(str, PLACES[place]))
                for rule, look in RULES.items():
                    named, level = look(scores[n], novelty[n], threshold)
                    count = counts.setdefault((rule, kind), Counts())
                    count.add(int(label), int(named.argmax()), level <= threshold)
    return counts, float(np.mean(foretold))


def questions(
    asked: Pictures,
    objects: np.ndarray,
    support: np.ndarray,
    classes: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of pictures of the task's objects and of some strangers, and their labels or -1."""
    position = np.full(objects.max() + 2, -1)
    position[classes] = np.arange(len(classes))
    truth = position[objects[asked.source]]
    own = np.flatnonzero((truth >= 0) & ~np.isin(asked.source, support))
    strange = rng.permutation(np.flatnonzero(truth < 0))[:STRANGERS]
    numbers = np.concatenate([own, strange])
    return numbers, truth[numbers]


def show(collection: Collection, model: Model, tasks: int, shots: int) -> None:
    """Print a collection's table."""
    counts, foretold = measure(collection, model, tasks, shots)
    kinds = [" ".join(map(str, place)) for place in PLACES] if collection.made else []
    kinds += ["wide photos"] if len(collection.wide.source) else []
    print(f"\n{collection.name}, {model.name}, {shots} photos of each object, {tasks} tasks")
    heads = "".join(f"{kind:>12}" for kind in kinds)
    print(f"{'':26}{heads}  false accepts (foretold {100 * foretold:.0f})")
    for rule in RULES:
        cells = "".join(f"{counts[rule, kind]!s:>12}" for kind in kinds)
        rates = []
        for group in (kinds[:6], kinds[6:]) if collection.made else (kinds,):
            found = [counts[rule, kind] for kind in group]
            strangers = sum(count.strangers for count in found)
            if strangers:
                rates.append(100 * sum(count.accepted for count in found) / strangers)
        print(f"{rule:26}{cells}  {'  '.join(f'{rate:5.1f}' for rate in rates)}", flush=True)


def show_cost(model: Model, repeats: int = 15) -> None:
    """Print the milliseconds of a 12-megapixel photo with a known centre, and with an unknown."""
    rng = np.random.default_rng(SEED)
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    encoder, preprocess = Encoder(model.folder), model.config.preprocess
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        centre, photo = images.load_input(buffer.getvalue(), preprocess)
        encoder.features(centre)
        middle = time.perf_counter()
        for square in sides.squares_of(photo.image):
            encoder.features(sides.square_input(square, preprocess))
        times.append((middle - began, time.perf_counter() - began))
    centre, both = np.median(times, axis=0) * 1000
    print(f"\n12-megapixel JPEG, one thread, median of {repeats}:")
    print(f"centre known {centre:.0f} ms, three squares too {both:.0f} ms: {both / centre:.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description="Objects at the side of wide photos.")
    parser.add_argument("model")
    parser.add_argument("collections", type=Path, nargs="*")
    parser.add_argument("--backgrounds", type=Path, nargs="+", default=[])
    parser.add_argument("--ordinary", type=Path, nargs="+", default=[])
    parser.add_argument("--photos", type=int, default=200, help="put on backgrounds, a collection")
    parser.add_argument("--tasks", type=int, default=150)
    parser.add_argument("--shots", type=int, default=5)
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    grounds = list(read_dataset(arguments.backgrounds).paths) if arguments.backgrounds else []
    for folder in arguments.collections:
        collection = read_collection(folder, model, grounds, arguments.photos)
        show(collection, model, arguments.tasks, arguments.shots)
    for folder in arguments.ordinary:
        collection = read_collection(folder, model, [], 0)
        show(collection, model, arguments.tasks, arguments.shots)
    show_cost(model)


if __name__ == "__main__":
    main()
