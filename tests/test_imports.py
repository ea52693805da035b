"""The architecture, read off the syntax trees: one direction of imports, a torch-free side."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import litecli

PACKAGE = Path(litecli.__file__).parent
ROOT = Path(__file__).parent.parent

# A file imports only from rows above its own. A new file has to find its row.
LAYERS = (
    "errors config events threads",
    "labelled walk drawn_shapes drawn_backgrounds episodes profile image_stream storage encoder",
    "memory colours lite changes",
    "decoding folders drawn ridge generator generated_head photo_counts datasets data_folder",
    "model_files weights hub graph network_parts run_folder task_size maml mahalanobis prototypes",
    "devices drawn_classes mahalanobis_held_out mahalanobis_gradient mahalanobis_dense ranks film",
    "torchrun backbone images heads same_shot model_library profile_library",
    "torch_encoder profile_changes confidence pixels model_tensors augment gpu_decoding",
    "library folding model_heads advice sides head_choice composites",
    "selfcheck training_data teacher passes strangers atlas",
    "findings support audit_data audit_plot audit_moments",
    "personalize predictions report",
    "model report_page",
    "model_folder solvers task_cost",
    "baselines",
    "methods",
    "evaluation",
    "stages validation",
    "supervised_batches episodic best_model",
    "supervised run_setup",
    "rehearsal audit audit_learner",
    "memory_fit",
    "planning",
    "training_loop",
    "training",
    "cli",
    "__main__",
)
ROW = {name: row for row, names in enumerate(LAYERS) for name in names.split()}

# Everything else runs without torch: adapt, classify, profiles and help start in a moment.
TORCH_SIDE = {
    *("ranks", "torchrun", "best_model", "run_setup", "supervised_batches", "training_loop"),
    *("augment", "lite", "film", "weights", "backbone", "graph", "teacher", "model", "evaluation"),
    *("stages", "supervised", "episodic", "planning", "validation", "devices", "training"),
    *("rehearsal", "task_size", "task_cost", "maml", "solvers", "baselines", "methods", "audit"),
    *("audit_learner", "audit_moments", "torch_encoder", "hub", "mahalanobis_gradient"),
    *("composites", "atlas", "image_stream", "mahalanobis_dense", "network_parts"),
    *("gpu_decoding", "model_folder", "memory_fit"),
}
# What the torch-free side may load from there inside a function, when it is handed torch tensors.
HANDED_TENSORS = {"heads": {"mahalanobis_gradient", "mahalanobis_dense"}}
TORCH = {"torch", "torchvision", "timm"}
HOMES = {
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "timm": {"backbone"},
    "huggingface_hub": {"hub"},
    "safetensors": {"storage"},
    "PIL": {"colours", "decoding", "images", "drawn", "drawn_backgrounds"},
    "onnxruntime": {"encoder"},
    "sklearn": {"baselines"},
    "jinja2": {"report_page"},
    "platformdirs": {"storage"},
    "filelock": {"data_folder", "run_folder"},
}
# What the files of cli/ may load before a command runs: --help answers at once.
LIGHT = ("typer", "litecli.cli", "litecli.errors", "litecli.config", "litecli.__version__")

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


MOST_LINES = 260
LONGER = {
    "backbone.py": "the only file that knows timm; a second one would know it too",
    "cli/meta_train.py": "one parameter a setting, each with its help",
}


def home(path: Path) -> str:
    """The file's name in LAYERS; the files of cli/ count as one."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


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
    """The names of LAYERS that a file imports."""
    found = set()
    for name in imports(ast.parse(path.read_text(encoding="utf-8")), functions):
        package, _, rest = name.partition(".")
        if package == "litecli" and rest.split(".")[0] in ROW:
            found.add(rest.split(".")[0])
    return found


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


def test_every_file_has_a_row_and_every_row_its_files() -> None:
    assert {home(path) for path in FILES} == set(ROW)


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {path.relative_to(PACKAGE).as_posix() for path in FILES if lines[path] > MOST_LINES}
    assert long == set(LONGER)


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (*project["dependencies"], *project["optional-dependencies"]["test"])
    declared = {re.split("[<>=]", line)[0].lower().replace("_", "-") for line in lines}
    names = {name for path in FILES for name in packages(path)}
    names -= {"litecli", *sys.stdlib_module_names}
    spelt = {"PIL": "pillow", "sklearn": "scikit-learn"}
    assert {spelt.get(name, name).lower().replace("_", "-") for name in names} <= declared


def test_readme_lists_every_file() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Files")[2]
    listed = re.findall(r"^\| `(\S+)` \|", table, re.MULTILINE)
    assert len(listed) == len(set(listed)) and all((ROOT / name).exists() for name in listed)
    files = {f"litecli/{path.name}" for path in PACKAGE.glob("*.py")} - {"litecli/__init__.py"}
    assert {name for name in listed if name.endswith(".py")} == files


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = home(path)
    above = {name for name in modules(path) if ROW[name] >= ROW[own]}
    assert above <= ({"cli"} if own == "cli" else set())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_torch_free_side_stays_free(path: Path) -> None:
    if home(path) in TORCH_SIDE or home(path) == "cli":
        return
    assert not packages(path) & TORCH
    assert not modules(path) & TORCH_SIDE - HANDED_TENSORS.get(home(path), set())
    assert not modules(path, functions=False) & TORCH_SIDE


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages_stay_at_home(path: Path) -> None:
    astray = {name for name in packages(path) if home(path) not in HOMES.get(name, {home(path)})}
    assert not astray


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda p: p.name)
def test_the_command_line_loads_nothing_heavy_at_its_start(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set(imports(tree, functions=False)) - {"litecli"}
    stdlib = {name for name in names if name.partition(".")[0] in sys.stdlib_module_names}
    heavy = {n for n in names - stdlib if not f"{n}.".startswith(tuple(f"{x}." for x in LIGHT))}
    assert not heavy
