"""The command line: parse, call, render."""

from litecli.cli.boundary import main

__all__ = ["main"]
