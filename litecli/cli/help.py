"""The look of --help: plain text in named groups.

Typer's own boxes need Rich, which takes longer to import than a command takes to answer; plain
text also survives any console, pipe and screen reader.
"""

from collections.abc import Iterable
from typing import Any

import typer
import typer.core


class PlainCommand(typer.core.TyperCommand):
    """A command whose options are shown under the names of their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, panel by panel."""
        write_options(self.get_params(ctx), ctx, formatter)


class PlainGroup(typer.core.TyperGroup):
    """A command with sub-commands, shown under the names of their panels and in `order`."""

    order: tuple[str, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """The sub-commands' names; those not in `order` last, as they were added."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda n: self.order.index(n) if n in self.order else len(names))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sub-commands, then the options, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        names = self.list_commands(ctx)
        room = formatter.width - max(map(len, names), default=0) - 6
        for name in names:
            command: Any = self.get_command(ctx, name)
            panel = _panel(command, "Commands")
            panels.setdefault(panel, []).append((name, command.get_short_help_str(room)))
        _write(panels, formatter)
        write_options(self.get_params(ctx), ctx, formatter)


def write_options(parameters: Iterable[Any], ctx: Any, formatter: Any) -> None:
    """Write the help of arguments and options under the names of their panels."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        record = parameter.get_help_record(ctx)
        if record is not None:
            argument = parameter.param_type_name == "argument"
            name = _panel(parameter, "Arguments" if argument else "Options")
            panels.setdefault(name, []).append(record)
    _write(panels, formatter)


def _panel(item: Any, otherwise: str) -> str:
    # Unset, Typer leaves None or a placeholder object here, depending on its release.
    name = getattr(item, "rich_help_panel", None)
    return name if isinstance(name, str) else otherwise


def _write(panels: dict[str, list[tuple[str, str]]], formatter: Any) -> None:
    for name, rows in panels.items():
        with formatter.section(name):
            formatter.write_dl(rows)


def examples_text(examples: Iterable[str], title: str = "Examples") -> str:
    """Example lines as a help text's end; the first character keeps Click from re-wrapping."""
    return "\n".join(("\b", f"{title}:", *(f"  {line}" for line in examples)))
