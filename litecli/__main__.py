"""The program: `litecli`, and `python -m litecli` for torchrun."""

import gc
import os
import signal
import sys

# numpy's OpenBLAS, which reads this as it loads, starts a thread per core, and they wait for each
# other in a spin: whatever else runs on a core then costs tens of times what a second thread saves.
# torch has its own threads (OMP_NUM_THREADS), and trains with all of them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Starting makes many objects and hardly a cycle: looking for them so often takes a few percent.
gc.set_threshold(10_000)

# Ctrl-C while that lasts: nothing is begun yet, and a traceback of imports would tell nobody.
quiet = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it is ignored
if quiet:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from litecli.cli import ctrl_c, main  # noqa: E402 (importing is most of starting)
from litecli.errors import ExitCode  # noqa: E402

if quiet:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run() -> int:
    """Run the command line this process was started with and return its exit code."""
    code = main()
    ctrl_c.end_at_the_next()  # or else it breaks into Python's end, and the network's threads abort
    if code == ExitCode.INTERRUPTED:
        os._exit(code)  # Python would wait for the photos that threads are still looking at
    if "torch" not in sys.modules:  # whose parts complain aloud of what nobody took down
        gc.freeze()  # what is left goes with the process: looking through it takes 30 ms
    return code


if __name__ == "__main__":
    raise SystemExit(run())
