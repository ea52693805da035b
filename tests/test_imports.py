"""The architecture, read off the syntax trees: one direction of imports, a torch-free side."""

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import litecli

PACKAGE = Path(litecli.__file__).parent
ROOT = Path(__file__).parent.parent

# A part of the package, a file or a folder, imports only from those before it.
PARTS = (
    *("errors", "config", "storage", "threads", "memory", "image_stream", "lite"),
    *("photos", "drawn", "heads", "library", "networks", "tasks"),
    *("personal", "evaluation", "pictures", "training", "audit", "cli", "__main__"),
)
# adapt, classify, profiles and help start in a moment: all of these run without torch ...
TORCH_FREE = {
    *("errors", "config", "storage", "threads", "memory"),
    *("photos", "drawn", "heads", "library", "personal", "cli"),
    *("networks.encoder", "networks.generator", "networks.folding", "networks.passes"),
    *("networks.strangers", "networks.model_heads"),
    *("tasks.episodes", "tasks.datasets", "tasks.drawn_classes"),
    *(
        "evaluation.defaults",
        "pictures.pixels",
        "pictures.overlaps",
        "pictures.training_data",
        "audit.data",
        "audit.settings",
        "audit.plot",
        "training.events",
    ),
}
# ... but for two, which heads.heads loads when it is handed torch's tensors.
TORCH_SIDE = {"heads.mahalanobis_gradient", "heads.mahalanobis_dense"}
LOADS_TORCH_SIDE = {"heads.heads"}
TORCH = {"torch", "torchvision", "timm"}
HOMES = {
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "timm": {"networks.timm_networks"},
    "huggingface_hub": {"networks.hub"},
    "safetensors": {"storage"},
    "PIL": {
        *("photos.colours", "photos.decoding", "photos.images", "photos.support_looks"),
        *("drawn.scenes", "drawn.backgrounds"),
    },
    "onnxruntime": {"networks.encoder"},
    "sklearn": {"evaluation.baselines"},
    "jinja2": {"personal.report_page"},
    "platformdirs": {"storage"},
    "filelock": {"library.data_folder", "training.run_folder"},
}
# What the files of cli/ may load before a command runs: --help answers at once.
LIGHT = (
    *("typer", "litecli.cli", "litecli.errors", "litecli.config", "litecli.__version__"),
    # numbers and names alone, as litecli.config
    *("litecli.evaluation.defaults", "litecli.audit.settings"),
)

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))

MOST_LINES = 250
LONGER = {
    "cli/meta_train.py": "one parameter a setting, each with its help",
}


def shown(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def dotted(path: Path) -> str:
    """The module's name below litecli."""
    return shown(path).removesuffix(".py").replace("/", ".")


def part(module: str) -> str:
    """The name in PARTS that a module belongs to."""
    return module.partition(".")[0]


MODULES = {dotted(path) for path in FILES} | {"library"}  # the one folder that is a door


def imports(node: ast.AST, functions: bool = True) -> Iterator[str]:
    """Dotted names that a tree imports when it runs; without those inside functions if asked."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module, "imports are written in full"
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from (name for other in child.orelse for name in imports(other, functions))
        elif functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, functions)


def modules(path: Path, functions: bool = True) -> set[str]:
    """The modules of litecli that a file imports."""
    names = imports(ast.parse(path.read_text(encoding="utf-8")), functions)
    return {name.removeprefix("litecli.") for name in names} & MODULES


def in_home(module: str, homes: set[str]) -> bool:
    return module in homes or part(module) in homes


def is_torch_free(module: str) -> bool:
    return in_home(module, TORCH_FREE) and module not in TORCH_SIDE


def packages(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name.partition(".")[0] for name in imports(tree)}


def test_the_reader_of_imports_sees_them_all() -> None:
    tree = ast.parse(
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import hidden\n"
        "def f():\n    import inside\ntry:\n    import tried\nexcept E:\n    pass\n"
    )
    assert set(imports(tree)) == {"a.b", "c", "c.d", "inside", "tried"}
    assert set(imports(tree, functions=False)) == {"a.b", "c", "c.d", "tried"}


def test_every_file_belongs_to_a_part() -> None:
    assert {part(dotted(path)) for path in FILES} == set(PARTS)


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {shown(path) for path in FILES if lines[path] > MOST_LINES}
    assert long == set(LONGER)


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (*project["dependencies"], *project["optional-dependencies"]["test"])
    declared = {re.split("[<>=]", line)[0].lower().replace("_", "-") for line in lines}
    names = {name for path in FILES for name in packages(path)}
    names -= {"litecli", *sys.stdlib_module_names}
    spelt = {"PIL": "pillow", "sklearn": "scikit-learn"}
    assert {spelt.get(name, name).lower().replace("_", "-") for name in names} <= declared


def test_readme_lists_every_part_from_the_ground_up() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Files")[2]
    listed = re.findall(r"^\| `(\S+)` \|", table, re.MULTILINE)
    assert all((ROOT / name).exists() for name in listed)
    ours = [name for name in listed if name.startswith("litecli/")]
    assert [name.split("/")[1].removesuffix(".py") for name in ours] == list(PARTS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_folder_tells_what_its_files_are(folder: Path) -> None:
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    listed = re.findall(r"^(\w+\.py)  ", told or "", re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in FILES if path.parent == folder)


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_imports_point_down(path: Path) -> None:
    own = part(dotted(path))
    others = {part(name) for name in modules(path)} - {own}
    assert not {name for name in others if PARTS.index(name) > PARTS.index(own)}


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {dotted(path): modules(path) for path in FILES if part(dotted(path)) != "cli"}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", [path for path in FILES if is_torch_free(dotted(path))], ids=shown)
def test_the_torch_free_side_stays_free(path: Path) -> None:
    heavy = {name for name in modules(path, functions=False) if not is_torch_free(name)}
    if part(dotted(path)) != "cli":  # a command may ask for torch's side as it runs
        heavy |= packages(path) & TORCH
        later = {name for name in modules(path) if not is_torch_free(name)}
        heavy |= later - TORCH_SIDE if dotted(path) in LOADS_TORCH_SIDE else later
    assert not heavy


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_packages_stay_at_home(path: Path) -> None:
    own = dotted(path)
    assert not {name for name in packages(path) & set(HOMES) if not in_home(own, HOMES[name])}


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda p: p.name)
def test_the_command_line_loads_nothing_heavy_at_its_start(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set(imports(tree, functions=False)) - {"litecli"}
    stdlib = {name for name in names if name.partition(".")[0] in sys.stdlib_module_names}
    heavy = {n for n in names - stdlib if not f"{n}.".startswith(tuple(f"{x}." for x in LIGHT))}
    assert not heavy
