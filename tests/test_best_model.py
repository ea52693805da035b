"""What the card of a run's best model says of its validation."""

import pytest

from litecli.best_model import checks


def test_the_card_counts_the_tasks_that_were_solved() -> None:
    told = checks(20, [0.5] * 10 + [0.7] * 10, ())
    assert told.startswith("Validation accuracy 60.0 ± 4.")
    assert told.endswith("(20-way 5-shot, 20 tasks on classes not trained on)")
    assert "1 task on" in checks(20, [0.5], ())


@pytest.mark.parametrize("shared", [("overlaps in 4 classes",), ("4 classes", "2 photos (a/b)")])
def test_the_card_of_an_overlapping_validation_says_so(shared: tuple[str, ...]) -> None:
    told = checks(4, [0.9, 0.8], shared)
    assert told.endswith(f"(4-way 5-shot, 2 tasks; {', '.join(shared)})")
    assert "not trained on" not in told
