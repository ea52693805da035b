"""`litecli meta-train` as it is typed in an empty folder, and a training that takes no time."""

from pathlib import Path

import pytest

from litecli.cli import main
from litecli.config import TrainConfig
from litecli.training import events


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `litecli meta-train ...` in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["meta-train", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def trained(run, monkeypatch: pytest.MonkeyPatch):
    """`run` with a training engine that takes no time; `trained.config` is what it was given."""
    from litecli.training import training

    def quick(config: TrainConfig, resume: bool = False, offline: bool = False):
        call.config, call.resume, call.offline = config, resume, offline
        yield events.Preparing("photos", 10, 10)
        yield events.Started(
            "drawn objects", "cpu", "fp32", 0, 2, ("val overlaps train",), film="FiLM on 7 of 7"
        )
        yield events.Stepped("episodes", 1, 2, 1.5, 7200.0)
        yield from call.more
        yield from (events.Validating(done, 2) for done in (1, 2))
        yield events.Validated("episodes", 2, 20, 0.912, 0.011, True)
        yield events.Finished(f"{config.out}/model", 0.912, 75.0)

    def call(*arguments: object) -> tuple[int, str, str]:
        return run(*arguments)

    call.more = []
    monkeypatch.setattr(training, "meta_train", quick)
    return call
