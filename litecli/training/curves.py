"""How a run went, drawn."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def curves_png(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and validation accuracy against steps, from the rows of metrics.csv."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        lossy = [row for row in own if row.get("loss") not in (None, "")]
        losses = np.array([float(row["loss"]) for row in lossy])
        if len(losses):
            width = max(1, len(losses) // 10)
            smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
            steps = np.array([int(row["step"]) for row in lossy])
            left.plot(steps[len(steps) - len(smooth) :], smooth, label=stage)
        checked = [row for row in own if row.get("val_accuracy") not in (None, "")]
        right.errorbar(
            [int(row["step"]) for row in checked],
            [100 * float(row["val_accuracy"]) for row in checked],
            [100 * float(row["val_ci95"]) for row in checked],
            marker="o",
            capsize=3,
            label=stage,
        )
    left.set(xlabel="step", ylabel="training loss (moving mean)")
    right.set(xlabel="step", ylabel="validation accuracy, %")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()
