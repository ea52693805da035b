"""The picture of an audit: bias, spread and cosine of every support gradient against H."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litecli.audit.moments import Row

COLOURS = {
    "lite": "#0072b2",
    "stratified": "#009e73",
    "small-task": "#d55e00",
    "lite, shared": "#cc79a7",
    "none": "#555555",
}
MARKERS = {"lite": "o", "stratified": "s", "small-task": "^", "lite, shared": "D"}
PANELS = {
    "bias": "bias (dotted: noise; hollow: may be chance)",
    "spread": "spread",
    "cosine": "cosine to the exact gradient",
}
LEAST = 1e-4  # of the logarithmic scales; smaller is drawn there


def draw(rows: "Sequence[Row]", title: str) -> bytes:
    """The picture as PNG: a row of panels for each part of the gradient."""
    import matplotlib.figure

    parts = list(dict.fromkeys(row.part for row in rows))
    size = (11, 1.3 + 3 * len(parts))
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(parts), len(PANELS), squeeze=False)
    for part, line in zip(parts, grid, strict=True):
        own = [row for row in rows if row.part == part]
        for axes, (value, heading) in zip(line, PANELS.items(), strict=True):
            _panel(axes, own, value)
            axes.set_title(heading, loc="left", fontsize=10)
        line[0].set_ylabel("all that is learned" if part == "all" else part)
    for axes in grid[-1]:
        axes.set_xlabel("H, support photos back-propagated")
    lines, names = grid[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.suptitle(title, fontsize=11)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _panel(axes: Any, rows: "Sequence[Row]", value: str) -> None:
    """One number of every gradient against H."""
    import matplotlib.ticker

    least = -1.0 if value == "cosine" else LEAST
    for gradient, marker in MARKERS.items():
        own = [row for row in rows if row.gradient == gradient]
        sizes = [row.h for row in own]
        numbers = [max(least, getattr(row, value)) for row in own]
        style = {"color": COLOURS[gradient], "linewidth": 1.4}
        if own:
            axes.plot(sizes, numbers, marker=marker, ms=6, label=gradient, **style)
        if value == "bias":
            axes.plot(sizes, [row.noise or math.nan for row in own], ":", **style)
            for size, number, row in zip(sizes, numbers, own, strict=True):
                if not row.biased:
                    axes.plot(size, number, marker, ms=6, mfc="white", mec=COLOURS[gradient])
    none = [getattr(row, value) for row in rows if row.gradient == "none"]
    if none and value != "spread":  # it does not depend on H, and does not scatter
        axes.axhline(none[0], color=COLOURS["none"], linestyle="--", linewidth=1.2, label="none")
    axes.set_xscale("log")
    ticks = sorted({row.h for row in rows if row.gradient in MARKERS})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    if value == "cosine":
        axes.set_ylim(min(0.0, *(row.cosine for row in rows)), 1.02)
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.minorticks_off()
