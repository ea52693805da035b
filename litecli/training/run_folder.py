"""What a training run leaves on disk: recipe, metrics, curves, log, and the state to resume from.

    OUT/recipe.toml  metrics.csv  curves.png  log.txt  last/  prev/  model/  cache/

State is written to a new folder and renamed; the one before stays as prev/, so that a crash in the
middle of saving leaves one that is whole.
"""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from litecli import storage
from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.training.curves import curves_png

COLUMNS: tuple[str, ...] = ("stage", "step", "loss", "val_accuracy", "val_ci95", "seconds")
# Settings that do not change what is learned, or that a resumed run may extend.
FREE = {"out", "workers", "device", "val_every", "tasks", "chunk", "query_batch", "memory"}
STATE_FILE = "state.safetensors"
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands: the next step to take is `step` of stage number `stage`."""

    stage: int = 0
    step: int = 0
    best: float = -1.0  # best validation accuracy so far, a fraction; below 0: none yet
    seconds: float = 0.0  # of training, all sessions together
    expected_memory: int = 0  # bytes at the peak as fitted to a memory; 0: to none


class RunFolder:
    """The folder of one run; every write is atomic."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = path / "cache"
        self.model = path / "model"
        self.rows: list[dict[str, Any]] = []
        self.warnings: list[str] = []  # what was odd about the state that was loaded
        self.photos: dict[str, int] = {}  # "SOURCE/CLASS" -> photos, of the run's data

    def refuse_if_used(self) -> None:
        """LiteError (USAGE) when there is more than decoded photos already, or a file."""
        for place in (self.path, *self.path.parents):
            if place.exists() and not place.is_dir():
                raise LiteError(
                    f"{place} is a file: no run can be kept in it.",
                    fix="another --out",
                    code=ExitCode.USAGE,
                )
        if self.path.exists() and any(
            p.name not in ("cache", LOCK_FILE) for p in self.path.iterdir()
        ):
            raise LiteError(
                f"{self.path} is not empty.",
                fix=f"add --resume to go on, or another --out than {self.path}",
                code=ExitCode.USAGE,
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training here; LiteError (MACHINE) when one does already.

        Makes the folder; where nothing else comes into it, it goes again.
        """
        from filelock import FileLock, Timeout  # as in library/data_folder.py

        made, lock = not self.path.exists(), FileLock(self.path / LOCK_FILE, timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise LiteError(
                f"Another litecli is training in {self.path}.",
                "Two would write over each other's state.",
                "wait for it to end, or another --out",
                code=ExitCode.MACHINE,
            ) from None
        except (OSError, NotImplementedError):
            pass  # cannot be written to, which the first write says, or knows no locks
        try:
            yield
        finally:
            lock.release()
            if made and [path.name for path in self.path.glob("*")] in ([], [LOCK_FILE]):
                shutil.rmtree(self.path, ignore_errors=True)

    def write_recipe(self, config: TrainConfig) -> None:
        """Write recipe.toml, which repeats the run."""
        storage.atomic_write(self.path / "recipe.toml", to_toml(config).encode())

    def save(
        self, progress: RunProgress, tensors: Mapping[str, np.ndarray], config: TrainConfig
    ) -> None:
        """Write the state; what was last/ becomes prev/."""
        parts = {"progress": asdict(progress), "config": asdict(config), "photos": self.photos}
        metadata = {name: json.dumps(part) for name, part in parts.items()}
        fresh, last, prev = (self.path / name for name in ("next", "last", "prev"))
        shutil.rmtree(fresh, ignore_errors=True)
        storage.write_tensors(fresh / STATE_FILE, tensors, metadata)
        if last.exists():
            shutil.rmtree(prev, ignore_errors=True)
            last.rename(prev)
        fresh.rename(last)
        self._write_metrics()

    def load(self, config: TrainConfig) -> tuple[RunProgress, dict[str, np.ndarray]]:
        """The newest whole state; LiteError when there is none or the settings have changed."""
        for name in ("last", "prev"):
            path = self.path / name / STATE_FILE
            try:
                tensors, metadata = storage.read_tensors(path)
                progress = RunProgress(**json.loads(metadata["progress"]))
                before = json.loads(metadata["config"])
                self.photos = json.loads(metadata.get("photos", "{}"))
            except (LiteError, ValueError, KeyError, TypeError):
                if path.exists():  # a crash while saving leaves none, and nothing to wonder at
                    self.warnings.append(f"{path} is damaged: going on from the state before it")
                continue
            self._check_settings(before, config, progress)
            self._read_metrics(progress)
            # model/ holds the best so far, which prev/ may have been too early to know of.
            seen = (row.get("val_accuracy") for row in self.rows)
            best = max([progress.best, *(float(accuracy) for accuracy in seen if accuracy)])
            return replace(progress, best=best), tensors
        raise LiteError(
            f"{self.path} holds no state to resume from.",
            "Neither last/ nor prev/ can be read.",
            "leave --resume out and choose another --out",
            code=ExitCode.MISSING,
        )

    def learns_from(self, photos: dict[str, int]) -> None:
        """Tell how many photos each "SOURCE/CLASS" has.

        LiteError (USAGE) where the state that was loaded had others: its numbers mean other photos.
        """
        names = sorted({*self.photos, *photos})
        changed = [name for name in names if self.photos.get(name) != photos.get(name)]
        if self.photos and changed:
            before, now = (part.get(changed[0], 0) for part in (self.photos, photos))
            raise LiteError(
                f"The photos have changed since this run began: {changed[0]} had {before}, "
                f"now it has {now}.",
                "Its tasks, and what is held out for validation, would be others.",
                f"the old photos; or another --out, with --weights {self.model} to begin from",
                code=ExitCode.USAGE,
            )
        self.photos = photos

    def _check_settings(
        self, before: dict[str, Any], config: TrainConfig, progress: RunProgress
    ) -> None:
        now, default = (_flat(json.loads(json.dumps(asdict(c)))) for c in (config, TrainConfig()))
        # A setting that the litecli of that time did not have was what is its default now.
        before = default | _flat(before)
        free = FREE | ({"backbone"} if Path(config.weights).is_dir() else set())  # it says which
        if before["pretrain.images"] and now["pretrain.images"] and progress.stage == 0:
            # Like `tasks`, the length of a stage, until it is over; 0 = there is none.
            free.add("pretrain.images")
        changed = [key for key in now if key not in free and before.get(key) != now[key]]
        if changed:
            key = changed[0]
            raise LiteError(
                f"This run was started with other settings: {', '.join(changed)}.",
                f"{key} was {before.get(key)!r} and is now {now[key]!r}.",
                "resume with the old settings, or start anew with another --out",
                code=ExitCode.USAGE,
            )

    def record(self, **values: Any) -> None:
        """Add a line of metrics.csv; it reaches the disk with the next `save`."""
        self.rows.append(values)

    def log(self, line: str) -> None:
        """Append a line to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _write_metrics(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        storage.atomic_write(self.path / "metrics.csv", text.getvalue().encode())

    def _read_metrics(self, progress: RunProgress) -> None:
        """Keep the lines of steps that are not taken again."""
        path = self.path / "metrics.csv"
        if not path.exists():
            return
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        stages = list(dict.fromkeys(row["stage"] for row in rows))
        for row in rows:
            if (stages.index(row["stage"]), int(row["step"])) <= (progress.stage, progress.step):
                self.rows.append(dict(row))

    def draw_curves(self) -> None:
        """Write curves.png: loss and validation accuracy against steps."""
        storage.atomic_write(self.path / "curves.png", curves_png(self.rows))


def to_toml(config: TrainConfig) -> str:
    """The resolved settings as TOML that `--config` reads back."""
    lines, tables = [], []
    for key, value in asdict(config).items():
        if isinstance(value, dict):
            tables += [f"\n[{key}]", *(f"{k} = {_toml(v)}" for k, v in value.items())]
        else:
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _toml(value: Any) -> str:
    # JSON's texts, numbers, booleans and lists of texts are TOML's too.
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # which TOML does not take as it is


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by name; those of a section as "section.name"."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= (
            {f"{key}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return flat
