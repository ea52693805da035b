"""The pages of `litecli report` and `litecli classify --report`: facts to one HTML file.

The file stands alone: no script, and pictures inside it as data. Every value goes through the
template's autoescape, and the page's own policy forbids scripts and loading anything at all.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from litecli.personal.report import Report, Unknown

MARK = b'<meta name="generator" content="litecli">'  # how a page of ours is told from others
MARK_WITHIN = 1000  # bytes
OBJECT_PICTURES = 12  # of one object, spread over its photos
FINDINGS = 12  # of one kind that are shown
MATRIX_OBJECTS = 14  # beyond, only those that were mixed up most
PAIRS = 12
BINS = 40  # of the histogram of novelty
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Answered:
    """One photo that `classify` answered, in words; with `error` it could not be read."""

    path: str
    label: str | None  # None: unknown
    says: str  # "sure (97 %)"
    share: float  # the probability behind it
    others: tuple[str, ...]  # "mug (2 %)"
    jpeg: bytes | None
    nearest: str | None  # own photo most alike
    nearest_jpeg: bytes | None
    error: str | None = None


@dataclass(frozen=True)
class Matrix:
    """Rows: what a photo is; columns: what it was taken for."""

    labels: tuple[str, ...]
    counts: np.ndarray  # int64 [C, C]
    partial: bool  # only the objects with most mix-ups


@dataclass(frozen=True)
class Bars:
    """A histogram of novelty: heights in 0..1 of photos as themselves, and as strangers."""

    own: tuple[float, ...]
    strangers: tuple[float, ...]
    line: float  # the threshold, 0..1 of the width


def profile_page(report: Report) -> bytes:
    """The page of a profile."""
    unknown = report.unknown
    return _render(
        "report.html",
        report=report,
        matrix=matrix(report),
        bars=bars(unknown),
        kept=int(np.sum(unknown.own <= unknown.threshold)),
        refused=int(np.sum(unknown.strangers > unknown.threshold)),
        pictures=[spread_out(pictures, OBJECT_PICTURES) for pictures in report.pictures],
        most_findings=FINDINGS,
        most_pairs=PAIRS,
    )


def answers_page(
    answers: Sequence[Answered], profile_name: str, num_objects: int, has_own_pictures: bool
) -> bytes:
    """The page of photos that `classify` answered, by answer, each beside its nearest own photo."""
    read = [answer for answer in answers if answer.error is None]
    labels = sorted({answer.label for answer in read if answer.label is not None})
    groups = [(label, [a for a in read if a.label == label]) for label in labels]
    return _render(
        "answers.html",
        groups=groups,
        named=sum(len(members) for _, members in groups),
        unknown=[answer for answer in read if answer.label is None],
        failed=[answer for answer in answers if answer.error is not None],
        total=len(answers),
        profile_name=profile_name,
        num_objects=num_objects,
        has_own_pictures=has_own_pictures,
    )


def is_ours(start: bytes) -> bool:
    """Whether a file that starts like this is a page of litecli."""
    return MARK in start[:MARK_WITHIN]


def matrix(report: Report) -> Matrix | None:
    """The mix-up matrix; None where nothing could be mixed up or checked."""
    if len(report.objects) < 2 or not report.checked:
        return None
    labels = [one.label for one in report.objects]
    partial = len(labels) > MATRIX_OBJECTS
    if partial:
        wrong = dict.fromkeys(labels, 0)
        for mix_up in report.mix_ups:
            wrong[mix_up.label] += mix_up.photos
            wrong[mix_up.other] += mix_up.photos
        most = sorted(labels, key=lambda label: -wrong[label])[:MATRIX_OBJECTS]
        labels = sorted(label for label in most if wrong[label])
        if not labels:
            return None
    number = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for one in report.objects:
        if one.label in number:
            counts[number[one.label], number[one.label]] = one.correct
    for mix_up in report.mix_ups:
        if mix_up.label in number and mix_up.other in number:
            counts[number[mix_up.label], number[mix_up.other]] = mix_up.photos
    return Matrix(tuple(labels), counts, partial)


def bars(unknown: Unknown) -> Bars | None:
    """The histograms of a profile's novelty on one scale; None where there is no value."""
    values = np.concatenate([unknown.own, unknown.strangers])
    if not len(values) or not np.isfinite(unknown.threshold):
        return None
    ends = np.append(values, unknown.threshold)
    margin = max(float(np.ptp(ends)), 0.1) / 20
    low, high = float(ends.min()) - margin, float(ends.max()) + margin
    counts = [
        np.histogram(v, bins=BINS, range=(low, high))[0] for v in (unknown.own, unknown.strangers)
    ]
    own, strangers = (tuple((c / max(int(c.max()), 1)).tolist()) for c in counts)
    return Bars(own, strangers, (unknown.threshold - low) / (high - low))


def spread_out(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def _render(template: str, **facts: Any) -> bytes:
    return _templates().get_template(template).render(facts).encode("utf-8")


@cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    templates.filters |= {"counted": _counted, "picture": _data_uri, "percent": _percent}
    return templates


def _printable(value: Any) -> Any:
    """Text with control characters written out (a tab as \\t); what is no character, as �."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _UNPRINTABLE.sub(
        lambda match: match[0].encode("unicode_escape").decode() if match[0] < "\ud800" else "�",
        value,
    )


def _data_uri(jpeg: bytes) -> Markup:
    return Markup("data:image/jpeg;base64,") + base64.b64encode(jpeg).decode("ascii")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
