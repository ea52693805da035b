"""The Typer app: which commands there are, and in which order help shows them.

The command files import nothing heavy; the engine is imported inside the functions, so that
`--help` answers at once.
"""

from typing import Annotated

import typer

from litecli import __version__
from litecli.cli import (
    adapt,
    audit,
    classify,
    demo,
    doctor,
    evaluate,
    meta_train,
    models,
    profiles,
    report,
)
from litecli.cli.help import PlainGroup, examples_text
from litecli.cli.options import HELP, RESEARCHERS, YOUR_OBJECTS
from litecli.cli.output import Output

ORDER = (
    *("adapt", "classify", "report", "profiles", "demo"),
    *("meta-train", "evaluate", "audit", "models"),
    "doctor",
)
START = ("litecli demo", "litecli adapt ./my_objects", "litecli classify photo.jpg")


class TopLevel(PlainGroup):
    """The commands in the order of help."""

    order = ORDER


app = typer.Typer(
    name="litecli",
    cls=TopLevel,
    epilog=examples_text(START, "Start here"),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Learn your own objects from a folder of photos, and name them in new photos."""
    out: Output = ctx.obj
    if version:
        out.result(f"litecli {__version__}")
    elif ctx.invoked_subcommand is None:
        out.result(ctx.get_help())


adapt.add_to(app, YOUR_OBJECTS)
classify.add_to(app, YOUR_OBJECTS)
report.add_to(app, YOUR_OBJECTS)
profiles.add_to(app, YOUR_OBJECTS)
demo.add_to(app, YOUR_OBJECTS)
meta_train.add_to(app, RESEARCHERS)
evaluate.add_to(app, RESEARCHERS)
audit.add_to(app, RESEARCHERS)
models.add_to(app, RESEARCHERS)
doctor.add_to(app, HELP)
