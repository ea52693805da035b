"""The arithmetic all heads share: unit rows, one-hot labels, class means, and held-out groups.

The lines run unchanged on numpy arrays and torch tensors, by way of array-api-compat.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from array_api_compat import device

Array = Any  # a numpy array or a torch tensor
Basis = Callable[[Array], tuple[Array, Array, Array]]  # `eigenbasis`, or one that remembers

MOST_EXAMPLES = 2000  # photos and their crops, that a head learns from
MOST_WEIGHT = 6  # of a photo with all its crops, in photos (tests/benchmarks/README.md)
NOISE = 8  # roundings of the largest eigenvalue: below, an eigenvalue means nothing


def array_namespace(array: Array) -> Any:
    """The library whose functions this array takes: numpy itself, or torch by array-api-compat.

    numpy from 2.0 on is array-API compatible; array-api-compat's wrapper of it would import all
    of numpy's rarely used parts, a fifth of the time that `classify` takes to start.
    """
    return np if isinstance(array, np.ndarray) else array_api_compat.array_namespace(array)


def identity(like: Array, size: int) -> Array:
    """The identity matrix [size, size], of the type of `like` and where it is."""
    xp = array_namespace(like)
    return xp.eye(size, dtype=like.dtype, device=device(like))


def distinct(numbers: np.ndarray) -> np.ndarray:
    """The different values of `numbers`, whole and from 0 on, in order.

    As np.unique, which on its first call imports numpy.ma: a hundredth of a second or two.
    """
    return np.flatnonzero(np.bincount(numbers))


class HeldOut(NamedTuple):
    """Groups of photos that take the same numbers of photos out of the same classes."""

    counts: tuple[tuple[int, int], ...]  # (class, photos held out), by class
    members: np.ndarray  # [groups, photos]; a row's photos stand in the order of `counts`

    def columns(self) -> list[tuple[int, slice]]:
        """Each class with the columns of `members` that hold its photos."""
        ends = np.cumsum([held for _, held in self.counts]).tolist()
        pairs = zip(self.counts, ends, strict=True)
        return [(label, slice(end - held, end)) for (label, held), end in pairs]


def held_out_batches(labels: Array, groups: Array | None = None) -> list[HeldOut]:
    """Every photo of labels [N] once, with its group: groups [N], or each photo by itself."""
    labels = to_numpy(labels)
    groups = np.arange(len(labels)) if groups is None else to_numpy(groups)
    order = np.lexsort((labels, groups))
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    batches: dict[tuple[tuple[int, int], ...], list[np.ndarray]] = {}
    for members in np.split(order, starts):
        key = tuple(Counter(labels[members].tolist()).items())
        batches.setdefault(key, []).append(members)
    return [HeldOut(key, np.stack(members)) for key, members in batches.items()]


def unit_rows(rows: Array) -> Array:
    """Rows [..., D] scaled to length 1; a row of zeros stays zero."""
    xp = array_namespace(rows)
    squared = xp.sum(rows * rows, axis=-1, keepdims=True)
    return rows / xp.sqrt(xp.clip(squared, 1e-24, None))


def one_hot(labels: Array, num_classes: int, like: Array) -> Array:
    """Labels [N] as rows [N, C] of zeros and a one, in the type and on the device of `like`.

    Every class 0..C-1 must have a photo: a gap in the labels fails an assertion.
    """
    xp = array_namespace(like)
    classes = xp.arange(num_classes, device=device(like))
    targets = xp.astype(xp.asarray(labels)[:, None] == classes[None, :], like.dtype)
    assert bool(xp.all(class_counts(targets) > 0)), "a class without photos"
    assert bool(xp.all(xp.sum(targets, axis=1) == 1)), "a label outside 0..C-1"
    return targets


def repeated(rows: Array, each: int) -> Array:
    """Rows [N, ...] as [N * each, ...]: every row `each` times in turn."""
    return rows if each == 1 else array_namespace(rows).repeat(rows, each, axis=0)


def repeated_groups(
    labels: Array, groups: Array | None, each: int
) -> tuple[Array, np.ndarray | None]:
    """Labels and groups [N] for examples [N * each] of the same photos, held out together."""
    if each == 1:
        return labels, groups
    groups = np.arange(len(labels)) if groups is None else to_numpy(groups)
    return repeated(labels, each), np.repeat(groups, each)


def crops_learned(num_photos: int, num_crops: int, most: int | None = None) -> int:
    """How many of each photo's crops are learned from: as many as leave `most` examples.

    `most` is MOST_EXAMPLES unless given. It is few photos that crops help, and few that they do
    not make slow.
    """
    most = MOST_EXAMPLES if most is None else most
    return min(num_crops, max(most // num_photos - 1, 0))


def with_crops(known: Array, crops: Array | None, most: int | None = None) -> tuple[Array, int]:
    """Examples [N * each, D] of photos [N, D], and `each`: a photo, then the first of its crops.

    Crops [N, V, D] come prepared as the photos are; see `crops_learned`, also for `most`.
    """
    if crops is None:
        return known, 1
    crops = crops[:, : crops_learned(known.shape[0], crops.shape[1], most)]
    rows = array_namespace(known).concat([known[:, None, :], crops], axis=1)
    return array_namespace(known).reshape(rows, (-1, rows.shape[2])), rows.shape[1]


def shared_penalty(lam: float, each: int) -> float:
    """The penalty for `each` examples a photo: together they weigh no more than MOST_WEIGHT.

    Else every further crop would take from the penalty's weight.
    """
    return lam * max(each / MOST_WEIGHT, 1.0)


def class_counts(targets: Array) -> Array:
    """Photos per class [C] of one-hot targets [N, C]."""
    return array_namespace(targets).sum(targets, axis=0)


def class_means(features: Array, targets: Array) -> Array:
    """Mean feature of each class, [C, D]."""
    return (targets.T @ features) / class_counts(targets)[:, None]


def held_out_means(mean: Array, count: Array, taken: Array) -> Array:
    """Means [groups, D] of a class with mean [D] of `count` photos, without `taken` [groups, m, D].

    Of a class that goes whole, a row that means nothing.
    """
    left = max(float(count) - taken.shape[1], 1.0)
    return (mean * float(count) - array_namespace(taken).sum(taken, axis=1)) / left


def eigenbasis(rows: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues [K] of rows' rows, coordinates of the rows [N, K] in their eigenbasis, vectors.

    K = min(N, D). The vectors are those of the smaller product, rows' rows or rows rows'.
    """
    xp = array_namespace(rows)
    dual = rows.shape[0] < rows.shape[1]
    values, vectors = xp.linalg.eigh(rows @ rows.T if dual else rows.T @ rows)
    values = xp.clip(values, 0.0, None)
    return values, vectors * xp.sqrt(values) if dual else rows @ vectors, vectors


class Eigenbases:
    """`eigenbasis` with a memory of its own, for work that asks of the same rows again and again.

    Finding one takes N^3 or D^3 operations; comparing the rows takes N D.
    """

    def __init__(self) -> None:
        self._found: list[tuple[Array, tuple[Array, Array, Array]]] = []

    def __call__(self, rows: Array) -> tuple[Array, Array, Array]:
        """As `eigenbasis`; the answer of the first time, where these very rows came before."""
        for known, found in self._found:
            alike = known.shape == rows.shape and known.dtype == rows.dtype
            if alike and bool((known == rows).all()):
                return found
        self._found.append((rows, eigenbasis(rows)))
        return self._found[-1][1]


def directions(rows: Array, values: Array, vectors: Array) -> Array:
    """Unit directions [K, D] of the eigenbasis of rows [N, D]; zero where the rows are flat."""
    if rows.shape[0] >= rows.shape[1]:
        return vectors.T
    xp = array_namespace(rows)
    noise = NOISE * float(xp.finfo(rows.dtype).eps) * xp.max(values)
    lengths = xp.sqrt(xp.where(values > noise, values, xp.full_like(values, xp.inf)))
    return (vectors / lengths).T @ rows


def to_numpy(array: Array) -> np.ndarray:
    """A numpy copy or view of an array of either library, wherever it lies."""
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
