"""Would the tests notice? Every line of some modules is changed in turn, and their tests run.

    pip install mutmut                                          # 3.8; by hand, so no extra has it
    python tests/mutation.py lite film --jobs 2 --out alive.txt
    python tests/mutation.py                                    # all modules that are listed below
    python tests/mutation.py lite:17,33                         # two mutants of one module

The mutants are those of mutmut's operators, applied to decorated functions, classes and tables as
well, which mutmut itself passes over, and two of our own: a return of None, and a call left out. A
mutant is killed when a test fails, or when all of them take much longer than they should. Each runs
in a fork of a process that has imported what is slow to import, but nothing of litecli. Linux only.
"""

import argparse
import difflib
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

import libcst as cst  # pyright: ignore[reportMissingImports] (mutmut brings it)
import pytest
from mutmut.mutation import mutators  # pyright: ignore[reportMissingImports]

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("numpy", "torch", "timm", "onnx", "onnxruntime", "PIL.Image", "pillow_heif", "jinja2")
HEAVY += ("safetensors.numpy", "platformdirs", "hypothesis", "typer", "rich.console")
NOT_MUTATED = {"len", "isinstance"}  # calls that mutmut leaves alone: they can only crash
# A mutant may take so many times what the tests take of the module as it is, and some seconds more:
# of the processor's time, and of all time, in which other work may go on beside it.
PATIENCE, PATIENCE_BESIDE_OTHERS, SOME = 3, 12, 10


@dataclass(frozen=True)
class Target:
    """A module with the tests that should notice, those that notice most for their time first."""

    path: str
    tests: tuple[str, ...]
    left_out: tuple[str, ...] = ()  # classes and functions that need a GPU
    fixtures: bool = False  # the tests need conftest.py, which imports most of litecli


LITE_TESTS = ("test_lite", "test_lite_draws", "test_lite_images", "test_lite_film")
HEAD_TESTS = ("test_heads", "test_ridge", "test_count_correction", "test_crops")
HEAD_TESTS += ("test_head_choice", "test_mahalanobis", "test_mahalanobis_gradient")
NOVELTY_TESTS = ("test_confidence_limits", "test_head_choice", "test_confidence")
NOVELTY_TESTS += ("test_crops_and_strangers",)
STORAGE_TESTS = ("test_storage", "test_saving")
STORAGE_TESTS += (
    "test_kept_profiles",
    "test_named_profiles",
    "test_changed_profiles",
    "test_named_models",
)
TARGETS = {
    "lite": Target("litecli/lite.py", LITE_TESTS),
    "film": Target("litecli/networks/film.py", ("test_generator", "test_film")),
    "generator": Target("litecli/networks/generator.py", ("test_generator", "test_film")),
    "head": Target("litecli/heads/head.py", HEAD_TESTS),
    "heads": Target("litecli/heads/heads.py", HEAD_TESTS),
    "photo_counts": Target("litecli/heads/photo_counts.py", ("test_photo_counts", "test_crops")),
    "ridge": Target("litecli/heads/ridge.py", HEAD_TESTS),
    "choice": Target("litecli/heads/choice.py", ("test_head_choice",)),
    "confidence": Target("litecli/heads/confidence.py", NOVELTY_TESTS, fixtures=True),
    "support_looks": Target(
        "litecli/photos/support_looks.py",
        ("test_look_geometry", "test_support_looks"),
        fixtures=True,
    ),
    "storage": Target("litecli/storage.py", STORAGE_TESTS, fixtures=True),
    "image_stream": Target(
        "litecli/image_stream.py",
        ("test_image_stream", *LITE_TESTS),
        ("_ToGpu", "_now", "_copying"),
    ),
}


def no_return(node: Any) -> Iterator[Any]:
    """`return x` -> `return None`."""
    if node.value is not None and not node.value.deep_equals(cst.Name("None")):
        yield node.with_changes(value=cst.Name("None"))


def no_call(node: Any) -> Iterator[Any]:
    """A call for what it does, not for its value -> `pass`."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


OPERATORS: list[tuple[type, Callable[[Any], Iterable[Any]]]] = [
    *mutators.mutation_operators,
    (cst.Return, no_return),
    (cst.Expr, no_call),
]


class Changes(cst.CSTVisitor):
    """Collects (node, what to put in its place) from a syntax tree."""

    def __init__(self, left_out: Sequence[str]) -> None:
        super().__init__()
        self.left_out, self.found = left_out, list[tuple[Any, Any]]()

    def on_visit(self, node: Any) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        if isinstance(node, cst.ClassDef | cst.FunctionDef) and node.name.value in self.left_out:
            return False
        if isinstance(node, cst.Call) and getattr(node.func, "value", "") in NOT_MUTATED:
            return False
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                self.found += [(node, changed) for changed in operator(node)]
        return True


def mutants(source: str, left_out: Sequence[str]) -> list[str]:
    """Every mutant of a module's source, once."""
    tree, changes = cst.parse_module(source), Changes(left_out)
    tree.visit(changes)
    codes = (tree.deep_replace(old, new).code for old, new in changes.found)
    return list(dict.fromkeys(code for code in codes if code != source))


class Mutant(SourceFileLoader, MetaPathFinder):
    """Finds a module at its place, and loads it from another source than its file's."""

    def __init__(self, path: str, source: str) -> None:
        super().__init__(path.removesuffix(".py").replace("/", "."), str(REPOSITORY / path))
        self.source = source

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec")


class Order:
    """Which test comes first: the quicker, and a second sooner for every mutant it has killed."""

    def __init__(self, place: dict[str, float], folder: Path) -> None:
        self.place, self.notes = place, folder / "notes"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.place.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.when == "call":
            with open(self.notes, "a") as file:  # noqa: PTH123 (tests put others in Path's place)
                print(json.dumps((report.nodeid, report.duration, report.failed)), file=file)

    def learn(self) -> None:
        """Take in what a run has noted."""
        for line in self.notes.read_text().splitlines() if self.notes.exists() else ():
            name, seconds, failed = json.loads(line)
            self.place.setdefault(name, seconds)
            self.place[name] -= failed


def start(target: Target, source: str, seconds: int, order: Order) -> int:
    """Run the tests against this source in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    os.setsid()  # so that it can be killed with all that it has started
    silence = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(silence, handle)
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        sys.meta_path.insert(0, Mutant(target.path, source))
        options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
        options += [] if target.fixtures else ["--noconftest"]
        options += ["-o", "addopts=--import-mode=importlib", f"--basetemp={order.notes}-files"]
        codes = (pytest.main([*options, f"tests/{name}.py"], [order]) for name in target.tests)
        code = next(
            (int(code) for code in codes if code), 0
        )  # a file is read when those before pass
    finally:
        os._exit(code)


def run(
    target: Target,
    sources: Sequence[str],
    order: dict[str, float],
    cpu: int = 600,
    wall: float = 600,
    jobs: int = 1,
) -> tuple[list[int], int]:
    """Run the tests against each source, with so many seconds of the processor and in all.

    The places of the sources with which all tests pass, and how many the clock has killed.
    """
    waiting, alive, late = list(enumerate(sources))[::-1], list[int](), 0
    running: dict[int, tuple[int, float, Order]] = {}  # process: place, deadline, its notes
    while waiting or running:
        while waiting and len(running) < jobs:
            place, source = waiting.pop()
            own = Order(order, Path(tempfile.mkdtemp()))
            process = start(target, source, cpu, own)
            running[process] = place, time.monotonic() + wall, own
        time.sleep(0.02)
        for process, (place, deadline, own) in list(running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended and time.monotonic() > deadline:
                os.killpg(process, signal.SIGKILL)
                ended, status = os.waitpid(process, 0)
            if ended:
                alive += [place] if status == 0 else []
                late += os.WIFSIGNALED(status)
                del running[process]
                own.learn()
                shutil.rmtree(own.notes.parent, ignore_errors=True)
    return sorted(alive), late


def processor_seconds() -> float:
    """What all ended children have used."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--out", type=Path, help="a file for the survivors' diffs")
    options = parser.parse_args()
    os.chdir(REPOSITORY)
    sys.path.insert(0, str(REPOSITORY))
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in HEAVY:
        import_module(name)
    scratch = tempfile.TemporaryDirectory()  # the forks find here what one of them has compiled
    sys.dont_write_bytecode, sys.pycache_prefix = False, scratch.name
    gc.freeze()  # or every fork would copy what the collector looks at
    print("| module | test files | mutants | killed | by the clock |\n|---|---|---|---|---|")
    lines: list[str] = []
    for chosen in options.modules:
        name, _, numbers = chosen.partition(":")
        target = TARGETS[name]
        source = Path(target.path).read_text(encoding="utf-8")
        found = dict(enumerate(mutants(source, target.left_out)))
        found = {int(n): found[int(n)] for n in numbers.split(",")} if numbers else found
        order: dict[str, float] = {}
        began, used = time.monotonic(), processor_seconds()
        if not run(target, [source], order)[0]:
            sys.exit(f"{name}: its tests fail without any mutant")
        cpu = SOME + int(PATIENCE * (processor_seconds() - used))
        wall = SOME + PATIENCE_BESIDE_OTHERS * (time.monotonic() - began)
        alive, late = run(target, list(found.values()), order, cpu, wall, options.jobs)
        killed, tests = len(found) - len(alive), ", ".join(target.tests)
        share = f"{killed} ({100 * killed / len(found):.0f} %)"
        print(f"| {target.path} | {tests} | {len(found)} | {share} | {late} |", flush=True)
        for number in (list(found)[place] for place in alive):
            diff = difflib.unified_diff(source.split("\n"), found[number].split("\n"), n=1)
            lines += [f"=== {name}:{number}", *list(diff)[2:], ""]
        if options.out:
            options.out.write_text("\n".join(lines), encoding="utf-8")
    gc.unfreeze()


if __name__ == "__main__":
    main()
