"""The page of all bad inputs, as it was last written by bad_inputs.py."""

import re
from pathlib import Path


def test_every_row_of_the_page_ended_as_it_should() -> None:
    page = Path(__file__).with_name("bad_inputs.md").read_text(encoding="utf-8")
    assert not re.findall(r"^\| (\d+) \|.*\*\*-?\d+, not \d+\*\*", page, re.MULTILINE)
