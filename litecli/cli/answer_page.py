"""The page of `litecli classify --report`: every answered photo beside the person's nearest own."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from litecli.cli.answers import how_sure, ranked
from litecli.cli.targets import check_page, save_page
from litecli.cli.texts import percent

if TYPE_CHECKING:
    from litecli.library.profile import Profile
    from litecli.personal.predictions import Prediction
    from litecli.personal.report_page import Answered

WORTH_NAMING = 0.05  # probability from which another object is named beside a known one
MOST_OTHERS = 2


class AnswerPage:
    """Collects answers and their pictures, and writes them as one page."""

    def __init__(
        self, path: Path, profile: "Profile", from_stdin: bool, inputs: Iterable[Path] = ()
    ) -> None:
        """`from_stdin`: its one photo came there; raises LiteError as `check_page` does."""
        check_page(path, profile.folder, "--report", inputs)
        self.path = path
        self.profile = profile
        self.from_stdin = from_stdin
        self.answers: list[Answered] = []
        hashes = zip(profile.photo_paths, profile.photo_hashes, strict=True)
        self.own = {own: profile.thumbnails.get(photo_hash) for own, photo_hash in hashes}

    def add(self, answer: "Prediction") -> None:
        """Keep an answer, with a small picture of its photo."""
        from litecli.personal.report_page import Answered

        best = ranked(answer)
        others = [f"{label} ({percent(share)})" for label, share in best if share >= WORTH_NAMING]
        self.answers.append(
            Answered(
                path="photo from stdin" if self.from_stdin else answer.path,
                label=answer.label if answer.known else None,
                says=how_sure(answer) if answer.known else "",
                share=answer.confidence,
                others=tuple(others[1 : 1 + MOST_OTHERS] if answer.known else others[:1]),
                jpeg=answer.thumbnail,
                nearest=answer.nearest,
                nearest_jpeg=self.own.get(answer.nearest or ""),
                error=answer.error,
            )
        )

    def save(self) -> None:
        """Write the page, all of it or nothing; raises LiteError (MACHINE)."""
        from litecli.personal.report_page import answers_page

        has_own = any(self.own.values())
        page = answers_page(self.answers, self.profile.name, len(self.profile.labels), has_own)
        save_page(self.path, page)
