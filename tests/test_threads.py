"""Work done ahead in threads: in order, no further than asked for, and never waited for in vain."""

import subprocess
import sys
import threading

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
