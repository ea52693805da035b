"""The program: `litecli`, and `python -m litecli` for torchrun."""

import gc

# Starting makes many objects and hardly a cycle: looking for them so often takes a few percent.
gc.set_threshold(10_000)

from litecli.cli import main  # noqa: E402 (importing is most of starting)


def run() -> int:
    """Run the command line this process was started with and return its exit code."""
    code = main()
    gc.freeze()  # what is left goes with the process: looking through it once more takes 30 ms
    return code


if __name__ == "__main__":
    raise SystemExit(run())
