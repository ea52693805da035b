"""The forms of one answer of `litecli classify`: words, tabs, a CSV line, a JSON object."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litecli.cli.output import Output
from litecli.cli.texts import counted, escaped, percent, shortened, shortened_path

if TYPE_CHECKING:
    from litecli.personal.predictions import Prediction

CSV_HEADER = ("path", "label", "known", "confidence", "second", "second_confidence", "error")
SURE, PROBABLY = 0.9, 0.6  # confidence from which a person reads these words


@dataclass(frozen=True)
class Style:
    """How answers are shown: to whom, how many objects, and whether with the nearest photo."""

    num_objects: int
    top: int = 1
    explain: bool = False
    many: bool = False  # several photos: each line begins with its path


def ranked(answer: "Prediction") -> list[tuple[str, float]]:
    """Objects with their probabilities, best first; equal ones keep the profile's order."""
    return sorted(answer.scores.items(), key=lambda item: -item[1])


def sureness(answer: "Prediction") -> str:
    """How sure a known answer is, in words."""
    words = ((SURE, "sure"), (PROBABLY, "probably"))
    return next((word for least, word in words if answer.confidence >= least), "not sure")


def how_sure(answer: "Prediction") -> str:
    """A known answer's sureness and share; of a single object the share is always all."""
    if len(answer.scores) == 1:
        return "looks like yours"
    return f"{sureness(answer)} ({percent(answer.confidence)})"


def tsv(answer: "Prediction", style: Style) -> Iterator[str]:
    """path, label, confidence; with --top N more pairs, with --explain the nearest own photo."""
    fields = [answer.path]
    if answer.error is not None:
        fields += ["", "", answer.error]
    else:
        fields += [answer.label if answer.known and answer.label else "unknown"]
        fields += [f"{answer.confidence:.4f}"]
        # "unknown" is the first answer where it is one: the best object comes second.
        best = ranked(answer)
        for label, share in best[1 : style.top] if answer.known else best[: style.top - 1]:
            fields += [label, f"{share:.4f}"]
        if style.explain:
            fields += [answer.nearest or ""]
    yield "\t".join(escaped(field) for field in fields)


def csv_row(answer: "Prediction") -> list[str]:
    """One line of the CSV file; `label` is the best object even when the photo is unknown."""
    if answer.error is not None:
        return [escaped(answer.path), "", "", "", "", "", answer.error]
    _, (second, share), *_ = [*ranked(answer), ("", 0.0)]
    known = "true" if answer.known else "false"
    shares = f"{answer.confidence:.4f}", f"{share:.4f}" if second else ""
    label = escaped(answer.label or "")
    return [escaped(answer.path), label, known, shares[0], escaped(second), shares[1], ""]


def answer_json(answer: "Prediction") -> dict[str, Any]:
    """The `litecli.classify/1` object of one photo; one that cannot be read has no novelty."""
    keys = ("path", "label", "known", "confidence", "scores", "nearest", "error")
    told = {key: getattr(answer, key) for key in keys}
    novelty = answer.novelty if answer.error is None else None
    return {"schema": "litecli.classify/1", **told, "novelty": novelty}


def lines_for_people(out: Output, answer: "Prediction", style: Style) -> Iterator[str]:
    """The answer in words."""
    start = f"{shortened_path(answer.path)}   " if style.many else ""
    if answer.error is not None:
        if style.many:
            yield f"{start}{out.styled(answer.error, 'red')}"
        return
    best = ranked(answer)
    if answer.known:
        label = shortened(answer.label or "")
        said = how_sure(answer)
        yield f"{start}{out.styled(label, 'bold')}   {said}"
        for other, share in best[1 : style.top]:
            yield f"  or {shortened(other)} ({percent(share)})"
    else:
        shown = best[: max(1, style.top - 1)]
        closest = "; ".join(f"{shortened(label)}, {percent(share)}" for label, share in shown)
        objects = counted(style.num_objects, "object")
        none_of = f"not one of your {objects} (closest: {closest})"
        if style.num_objects == 1:
            none_of = f"not your {shortened(best[0][0])}"
        yield f"{start}{out.styled('unknown', 'yellow')}   {none_of}"
    if style.explain and answer.nearest:
        yield f"  most like your photo {shortened_path(answer.nearest)}"
