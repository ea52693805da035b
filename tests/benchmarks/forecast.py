"""Whether what `adapt` forecasts of new photos comes true.

    python tests/benchmarks/forecast.py MODEL COLLECTION... [--folders 200]

MODEL is a model's name or folder, a COLLECTION a folder of class folders. Photos that a folder
has not learned, up to 15 of each object, say what is true. First the bias of the expected accuracy
with 2, 3, 5 and 8 photos of each of five objects, which may be 3 points. Then folders of 2 to 12
objects with 1 to 12 photos each: the printed range holds when it has the true accuracy, rounded to
whole photos of ten. The first five columns are in percent, widths in photos of ten.
"""

import argparse
from pathlib import Path

import numpy as np
from unknowns import Collection, Task, chosen_head, crops_of, draw, read_collection

from litecli.heads.head import Head
from litecli.library.model_library import find_model
from litecli.personal.selfcheck import FORECAST_PHOTOS, check_support, expected_accuracy

ASKED = 15  # new photos of each object, at most
MOST_OBJECTS, MOST_PHOTOS = 12, 12


def look_ahead(collection: Collection, task: Task, head: Head | None) -> tuple[float, ...]:
    """Leave-one-out, expected and true accuracy, and the printed range, of one folder."""
    known, labels = collection.features[task.support], task.labels
    objects = np.unique(labels)
    greys, crops = collection.greys[task.support], crops_of(collection, task.support)
    check = check_support(known, labels, len(objects), greys, head, crops=crops)
    expected = expected_accuracy(labels, check.groups, check.named)
    params = check.head.fit(known, labels, len(objects), crops=crops, **check.options)
    named = check.head.score(params, collection.features[task.query]).argmax(1)
    right = named == task.query_labels
    true = float(np.mean([right[task.query_labels == label].mean() for label in objects]))
    checked = check.correct.sum() / max(check.total.sum(), 1)
    return float(checked), true if expected is None else expected, true, *check.forecast


def report(title: str, rows: list[tuple[float, ...]]) -> None:
    """Print one line of the table."""
    checked, expected, true, low, high = np.array(rows).T
    whole = np.round(FORECAST_PHOTOS * true)
    holds = np.mean((low <= whole) & (whole <= high))
    bias, width = 100 * (expected - true).mean(), high - low
    print(
        f"{title:<34}{len(rows):>5}{100 * checked.mean():>9.1f}{100 * expected.mean():>10.1f}"
        f"{100 * true.mean():>7.1f}{bias:>+7.1f}{100 * holds:>8.0f}{width.mean():>8.1f}"
        f"{width.max():>8.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Forecast and truth.")
    parser.add_argument("model")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--folders", type=int, default=200, help="in a row, all collections")
    parser.add_argument("--head", help="as adapt's; else the model's own")
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    head = chosen_head(model, arguments.head)
    collections = [read_collection(folder, model) for folder in arguments.data]
    print(f"{model.name}, head {arguments.head or model.config.head}")
    print(f"{'':<34}folders checked expected   true   bias   holds   width  widest")
    share = -(-arguments.folders // len(collections))
    for shots in (2, 3, 5, 8):
        everything = []
        for collection in collections:
            rng = np.random.default_rng(shots)
            tasks = [draw(collection, [shots] * 5, ASKED, rng) for _ in range(share)]
            rows = [look_ahead(collection, task, head) for task in tasks if task is not None]
            if rows:
                report(f"{collection.name}, 5 objects x {shots}", rows)
            everything += rows
        report(f"all, 5 objects x {shots}", everything)
    everything = []
    for collection in collections:
        rng = np.random.default_rng(0)
        rows = []
        while len(rows) < share:
            most = min(MOST_OBJECTS, len(collection.photos))
            counts = rng.integers(1, MOST_PHOTOS + 1, size=rng.integers(2, most + 1))
            largest = max(map(len, collection.photos)) - 1
            task = draw(collection, np.minimum(counts, largest).tolist(), ASKED, rng)
            if task is not None:
                rows.append(look_ahead(collection, task, head))
        report(f"{collection.name}, random folders", rows)
        everything += rows
    report("all, random folders", everything)


if __name__ == "__main__":
    main()
