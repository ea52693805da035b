"""Mutants of photos, profiles and models: an answer or a reason, in time and in little memory.

LITECLI_FUZZ=20000 asks for that many mutants instead of 2,000, and LITECLI_FUZZ_FIGURES for a file
to append the figures to.
"""

import contextlib
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litecli import library, memory
from litecli.cli import main
from litecli.config import ENCODER_GRAPH, TASK_GRAPH, WEIGHTS_FILE, Preprocess
from litecli.errors import PhotoError
from litecli.networks.model_folder import model_config, write_model
from litecli.photos import images

from .mutants import (
    ODD_VALUES,
    SIDES,
    change_one,
    claims,
    damaged,
    edits,
    header_edited,
    in_metadata,
    photo_seeds,
    with_true_checksums,
)
from .small_models import build_cnaps

MUTANTS = int(os.environ.get("LITECLI_FUZZ", "2000"))
SECONDS, BYTES = 10.0, 2_000_000_000  # of processor and memory: no mutant may take more

PHOTOS = photo_seeds()
PREPROCESS = Preprocess(image_size=32)


def fuzz(share: float, *strategies: st.SearchStrategy[Any]) -> Callable[..., Any]:
    """`given`, with that share of all mutants, the same ones every time."""
    options = settings(
        max_examples=max(1, round(MUTANTS * share)),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda test: options(given(st.tuples(*strategies))(test))


@dataclass
class Figures:
    """What became of the mutants of one kind."""

    ends: Counter[object] = field(default_factory=Counter)
    slowest: float = 0.0

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        began = time.process_time()  # of this process: a busy machine makes no mutant slow
        yield
        self.slowest = max(self.slowest, time.process_time() - began)
        assert self.slowest < SECONDS


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Counts, and the limits of time and memory, of one test."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is other tests'
    held = memory.resident()  # by them: torch alone is some hundred megabytes
    found = Figures()
    yield found
    peak = memory.peak_resident() - held
    assert peak < BYTES or not Path("/proc/self/clear_refs").exists()
    if place := os.environ.get("LITECLI_FUZZ_FIGURES"):
        with Path(place).open("a") as file:
            ends = ", ".join(f"{count} x {end}" for end, count in found.ends.most_common())
            total = sum(found.ends.values())
            slowest = f"slowest {found.slowest:.2f} s, peak {memory.written(peak)}"
            file.write(f"{request.node.name}: {total} mutants, {slowest}\n  {ends}\n")


CLAIM = st.one_of(st.none(), st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES)))


@fuzz(0.7, st.sampled_from(PHOTOS), CLAIM, st.one_of(st.just([]), edits()), st.booleans())
def test_photos(figures: Figures, mutant: tuple[Any, ...]) -> None:
    seed, claim, changes, checksums = mutant
    data = claims(seed, *claim) if claim else seed
    data = damaged(data, changes)
    data = with_true_checksums(data) if checksums else data
    with figures.timed():
        try:
            looks, photo = images.load_looks(data, PREPROCESS)
        except PhotoError as error:
            figures.ends[error.reason.partition(" (")[0]] += 1
            assert error.reason
            return
        images.thumbnail_jpeg(photo.image)
    figures.ends["used"] += 1
    assert looks.shape == (1, 32, 32, 3) and photo.image.mode == "RGB"


@pytest.fixture
def learned(run, write_objects, put, photo) -> None:
    """A profile with all that one can have, and a new photo."""
    folder = write_objects({"keys": 3, "mug": 3, "bowl": 2})
    put("my_objects/mug/odd.txt")
    put("my_objects/mug/dark.jpg", photo("mug", 5)[:300])
    assert run("adapt", folder, "-q")[0] == 0
    put("new.jpg", photo("mug", 9))


def answer(figures: Figures, *arguments: str) -> int:
    """The exit code of a command line; 1 and tracebacks are what must not be."""
    out, err = io.StringIO(), io.StringIO()
    with figures.timed(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    told = out.getvalue() + err.getvalue()
    assert code != 1 and "Traceback" not in told, (arguments, told)
    return code


def changed(data: bytes, change: Any) -> bytes:
    """The data after edits of its bytes, of its header, or of its graph."""
    if not callable(change):
        return damaged(data, change)
    graph = getattr(change, "func", None) is graph_edited
    return graph_edited(data, **change.keywords) if graph else header_edited(data, change)


PATH = st.lists(st.integers(0, 40), min_size=1, max_size=5)
VALUE = st.sampled_from((*ODD_VALUES, "drop", "I64", "BF16", [2**40, 2], "../../x"))
HEADER = st.builds(
    partial,
    st.sampled_from((change_one, in_metadata, in_metadata)),
    path=PATH,
    value=VALUE,
)
# The commands that read a profile. What the last one meets is the saved profile itself.
READERS = (
    ("classify", "new.jpg", "-p", "mutant.safetensors"),
    ("classify", "new.jpg", "-p", "mutant.safetensors", "--csv", "out.csv", "--explain"),
    ("profiles", "show", "mutant.safetensors"),
    ("report", "mutant.safetensors", "-o", "page.html"),
    ("profiles", "list", "--json"),
    ("adapt", "my_objects", "-q"),
)


@fuzz(0.15, st.sampled_from(READERS), st.one_of(HEADER, HEADER, edits()))
def test_profiles(learned: None, figures: Figures, mutant: tuple[Any, ...]) -> None:
    arguments, change = mutant
    saved = Path(os.environ["LITECLI_HOME"]) / "profiles" / "my_objects.safetensors"
    whole = saved.read_bytes()
    data = changed(whole, change)
    Path("mutant.safetensors").write_bytes(data)
    saved.write_bytes(data)
    try:
        code = answer(figures, *arguments)
    finally:
        saved.write_bytes(whole)
    figures.ends[f"{arguments[0]} {code}"] += 1
    assert code in (0, 2, 4)


def graph_edited(data: bytes, path: list[int], value: Any) -> bytes:
    """An ONNX file with one name, number or reference of its graph replaced."""
    model = onnx.load_from_string(data)
    node = model.graph.node[path[0] % len(model.graph.node)]
    outside = [tensor for tensor in model.graph.initializer if tensor.external_data]
    tensor = outside[path[0] % len(outside)]
    text, number = str(value).encode("utf-8", "replace").decode(), path[-1]
    kind = sum(path) % 6
    if kind == 0:
        node.op_type = text
    elif kind == 1:
        node.input[0] = text
    elif kind == 2:
        tensor.dims[0] = number * 1000
    elif kind == 3:
        tensor.external_data[number % len(tensor.external_data)].value = text
    elif kind == 4:
        tensor.external_data[1].value = str(number * 100)
    elif node.attribute:
        del node.attribute[number % len(node.attribute)]
    return model.SerializeToString()


GRAPH = st.builds(partial, st.just(graph_edited), path=PATH, value=VALUE)
USERS = (
    ("adapt", "my_objects", "--model", "mutant", "-o", "made.safetensors", "-q"),
    ("adapt", "my_objects", "--model", "mutant", "-o", "made.safetensors", "--json"),
    ("models", "show", "mutant"),
    ("models", "add", "mutant", "--name", "added"),
)


WEIGHTS = st.tuples(st.just(WEIGHTS_FILE), st.one_of(HEADER, HEADER, edits()))
GRAPHS = st.one_of(GRAPH, edits())


@fuzz(0.1, st.sampled_from(USERS), WEIGHTS | st.tuples(st.just(ENCODER_GRAPH), GRAPHS))
def test_models(learned: None, figures: Figures, mutant: tuple[Any, ...]) -> None:
    use_mutant(library.find_model("tiny").folder, figures, *mutant)


@pytest.fixture(scope="module")
def film_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of CNAPs: FiLM, a set encoder, and generators of both FiLM and head."""
    model = build_cnaps()
    folder = tmp_path_factory.mktemp("models") / "personal"
    write_model(model, model_config("personal", model, "cnaps", "generated"), folder, {})
    return folder


FILM_GRAPHS = st.tuples(st.sampled_from((ENCODER_GRAPH, TASK_GRAPH)), GRAPHS)


@fuzz(0.05, st.sampled_from(USERS), WEIGHTS | FILM_GRAPHS)
def test_models_with_film(
    learned: None, film_folder: Path, figures: Figures, mutant: tuple[Any, ...]
) -> None:
    use_mutant(film_folder, figures, *mutant)


def use_mutant(
    good: Path, figures: Figures, arguments: tuple[str, ...], damage: tuple[str, Any]
) -> None:
    """A command that reads a copy of the model, one of its files changed."""
    file, change = damage
    Path("mutant").mkdir(exist_ok=True)
    for path in (*good.glob("*.onnx"), good / WEIGHTS_FILE):
        data = path.read_bytes()
        data = changed(data, change) if path.name == file else data
        (Path("mutant") / path.name).write_bytes(data)
    code = answer(figures, *arguments)
    if Path(os.environ["LITECLI_HOME"], "models", "added").exists():
        library.remove_model("added")
    figures.ends[f"{arguments[0]} {code}"] += 1
    assert code in (0, 2, 4)
