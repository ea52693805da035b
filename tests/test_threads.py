"""Work done ahead in threads: in order, no further than asked for, and never waited for in vain."""

import os
import subprocess
import sys
import threading
from importlib.metadata import entry_points

import pytest

from litecli.errors import PhotoError
from litecli.threads import in_order, workers


def test_results_come_in_order_whoever_is_first():
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(10)
        if item == 1:
            second_is_done.set()
        return item * item

    assert list(in_order(work, range(20), threads=2, ahead=4)) == [n * n for n in range(20)]


def test_an_exception_comes_in_its_place():
    def work(item: int) -> int:
        if item == 2:
            raise PhotoError("file is cut off")
        return item

    results = in_order(work, range(5), threads=2, ahead=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(PhotoError, match="cut off"):
        next(results)


def test_only_so_many_items_are_begun_ahead():
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda item: item, items(), threads=2, ahead=5)
    assert next(results) == 0
    assert len(taken) == 6
    results.close()
    assert len(taken) == 6


def test_leaving_early_drops_the_work_not_yet_begun():
    gate, begun = threading.Event(), []

    def work(item: int) -> int:
        begun.append(item)
        assert item == 0 or gate.wait(10)
        return item

    results = in_order(work, range(100), threads=1, ahead=5)
    assert next(results) == 0
    threading.Timer(0.1, gate.set).start()
    results.close()
    assert begun in ([0], [0, 1])


def test_an_iterator_may_be_collected_in_one_of_its_own_threads():
    """As Python's collector does with one that an error left behind."""
    left, closed = threading.Event(), threading.Event()

    def work(item):
        if item:
            left.wait(5)
            results.close()
            closed.set()

    results = in_order(work, range(3), threads=1, ahead=1)
    next(results)
    left.set()
    assert closed.wait(5)


def test_an_iterator_may_be_collected_while_a_thread_starts() -> None:
    """Python's collector may run where `threading` holds a lock that ending a thread asks for."""
    code = """
import gc, threading
from litecli.threads import in_order, workers

gc.disable()
results = in_order(lambda item: item, range(9), threads=1, ahead=3)
next(results)
cycle = [results]
cycle.append(cycle)  # as an error's traceback is one
del results, cycle
with threading._shutdown_locks_lock:
    gc.collect()
print("collected")
"""
    if not hasattr(threading, "_shutdown_locks_lock"):
        pytest.skip("this Python joins its threads otherwise")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stdout == "collected\n"


def test_no_number_asked_for_is_one_thread_a_core() -> None:
    assert workers(3) == 3
    assert workers() == workers(0) >= 1


def in_a_new_process(code: str) -> str:
    """What the code prints where nobody has said how many threads anything may start."""
    told = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = {key: value for key, value in os.environ.items() if key not in told}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
@pytest.mark.parametrize(
    "start", ["import litecli.__main__", "import runpy; runpy.run_module('litecli')"]
)
def test_the_program_gives_numpy_one_thread(start: str):
    """More wait for each other in a spin, and take 2 to 10 s for 0.4 s of work on a busy core."""
    look = "import os, numpy; numpy.ones((500, 500)) @ numpy.ones((500, 500))"
    assert in_a_new_process(f"{start}\n{look}\nprint(len(os.listdir('/proc/self/task')))") == "1"


def test_the_installed_program_starts_there_too():
    (script,) = entry_points(group="console_scripts", name="litecli")
    assert script.value == "litecli.__main__:run"


def test_torch_keeps_all_its_threads_to_train_with():
    look = "import torch; print(torch.get_num_threads())"
    assert in_a_new_process(f"import litecli.__main__\n{look}") == in_a_new_process(look)
