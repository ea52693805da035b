"""`litecli models`: the networks that turn photos into features, shipped, fetched or your own."""

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litecli.cli.options import HEADS_IN_WORDS, Common, check_head, command, group
from litecli.cli.texts import shortened
from litecli.config import MOST_CLOSER_LOOKS, MOST_SUPPORT_LOOKS
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.library import Model

SCHEMA = "litecli.models/1"
Name = Annotated[str, typer.Argument(help="A model's name.")]
NameOrCurrent = Annotated[
    str | None, typer.Argument(help="A model's name or folder; else the current one.")
]

EXAMPLES = (
    "litecli models",
    "litecli models fetch small",
    "litecli models add runs/protonets-mobilenetv4_conv_small/model --name mine",
    "litecli models use mine",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command and its sub-commands."""
    models = group(app, "models", panel)
    command(models, examples=EXAMPLES)(bare)
    command(models, "list", examples=("litecli models list --json",))(list_all)
    command(models, "show", examples=("litecli models show",))(show)
    command(models, "use", examples=("litecli models use mine",))(use)
    command(models, "add", examples=("litecli models add runs/mine/model --name mine",))(add)
    command(
        models,
        "fetch",
        examples=(
            "litecli models fetch mobilenetv3_small_100",
            "litecli models fetch resnet18 --weights resnet18.safetensors",
            "litecli models fetch hf-hub:timm/resnet18.a1_in1k --name resnet",
        ),
    )(fetch)
    command(models, "remove", examples=("litecli models remove mine",))(remove)
    command(models, "path", examples=("litecli models path",))(path)


def bare(common: Common) -> None:
    """List, show, choose, add, fetch or remove models."""
    list_all(common)


def list_all(common: Common) -> None:
    """List the models; the current one has a star."""
    from litecli import library

    out = common.out
    rows = []
    for model, shipped, current in library.list_models():
        if out.json:
            out.record(_model_json(model) | {"shipped": shipped, "current": current})
        config = model.config
        where = "comes with litecli" if shipped else str(model.folder)
        star = "*" if current else " "
        side = str(config.preprocess.image_size)
        rows.append((star, shortened(model.name), config.architecture, side, where))
    if rows:
        out.table(("", "model", "network", "pixels", "where"), rows, right="pixels")
    else:
        out.say("No model is installed. Make one with: litecli models fetch NAME")


def show(common: Common, name: NameOrCurrent = None) -> None:
    """Print a model's card."""
    from litecli import library

    out = common.out
    model = library.find_model(name)
    card = model.folder / "README.md"
    if out.json:
        out.record(_model_json(model))
    elif card.is_file():
        out.result(card.read_text(encoding="utf-8", errors="replace").rstrip())
    else:
        config = model.config
        out.result(f"{model.name}: {config.architecture}, {config.num_features} features")
        out.result(f"  licence {config.licence}; {config.origin}")
    out.say(f"Folder: {model.folder}")


def use(common: Common, name: Name) -> None:
    """Make a model the one that adapt uses; profiles keep theirs."""
    from litecli import library

    _done(common, library.use_model(name), "is the current model now")


def add(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="A model folder, such as runs/NAME/model.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Its name here.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace your own model of that name.")
    ] = False,
) -> None:
    """Add a copy of a trained model to your own."""
    from litecli import library

    model = library.add_model(folder, name, replace=replace)
    _done(common, model, f"was added as {model.folder}")


def fetch(
    common: Common,
    network: Annotated[
        str,
        typer.Argument(help="small, balanced, strong, dinov3; a timm name; or hf-hub:NAME."),
    ],
    weights: Annotated[
        str, typer.Option(help="auto, or a local FILE or timm model DIR.", metavar="WHICH")
    ] = "auto",
    head: Annotated[str, typer.Option(help=f"{HEADS_IN_WORDS}.")] = "auto",
    name: Annotated[str | None, typer.Option("--name", "-n", help="Its name here.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=32, max=1024, help="Pixels of a side; else the network's own.")
    ] = None,
    closer_look: Annotated[
        list[float] | None,
        typer.Option(
            min=0.1,
            max=1.0,
            help="Also look at the middle, this share of the short side; can be repeated.",
        ),
    ] = None,
    support_looks: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_SUPPORT_LOOKS,
            help="More looks at photos to learn from: shifted, turned, mirrored.",
        ),
    ] = 0,
    pooled: Annotated[
        bool,
        typer.Option("--pooled", help="Features from before the network's last, widening layer."),
    ] = False,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept the weights' own licence.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace your own model of that name.")
    ] = False,
) -> None:
    """Make a model from a pretrained network."""
    check_head(head)
    if closer_look and len(closer_look) > MOST_CLOSER_LOOKS:
        raise LiteError(
            f"{len(closer_look)} closer looks are too many: {MOST_CLOSER_LOOKS} at most.",
            "Each costs a pass of the network.",
            code=ExitCode.USAGE,
        )
    from litecli import library
    from litecli.networks import model_folder

    name = name or network.removeprefix("hf-hub:").rpartition("/")[2]
    name = library.check_free(name, replace=replace)  # before the download
    common.out.say(f"Making model {name} of {network} ...")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        config = model_folder.fetch(
            network,
            folder,
            weights,
            head=head,
            image_size=image_size,
            closer_looks=tuple(closer_look or ()),
            support_looks=support_looks,
            pooled=pooled,
            offline=common.offline,
            accept_licence=accept_license,
        )
        made = library.add_model(folder, name, replace=replace)
    _done(common, made, f"was made in {made.folder}")
    common.out.result(f"  {config.architecture}, licence of the weights: {config.licence}")
    common.out.say(f"Next: litecli models use {shlex.quote(made.name)}")


def remove(common: Common, name: Name) -> None:
    """Delete one of your own models."""
    from litecli import library

    where = library.remove_model(name)
    common.out.result(f"Deleted {where}")
    if common.out.json:
        common.out.record({"schema": SCHEMA, "name": name, "path": str(where)})


def path(common: Common, name: NameOrCurrent = None) -> None:
    """Print where a model's folder is."""
    from litecli import library

    where = library.model_path(name)
    common.out.result(str(where))
    if common.out.json:
        common.out.record({"schema": SCHEMA, "path": str(where)})


def _done(common: Common, model: "Model", text: str) -> None:
    common.out.result(f"{model.name} {text}.")
    if common.out.json:
        common.out.record(_model_json(model))


def _model_json(model: "Model") -> dict[str, Any]:
    own = {"schema": SCHEMA, "name": model.name, "path": str(model.folder)}
    return own | {k: v for k, v in model.config.to_dict().items() if k not in own}
