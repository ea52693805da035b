"""Work done in threads, ahead of whoever wants its results. No torch."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers(asked: int = 0) -> int:
    """Threads for photos: as many as asked for; 0: one per core that this process may use."""
    if asked:
        return asked
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int | None = None,
    ahead: int | None = None,
    idle: Callable[[], bool] | None = None,
) -> Generator[Result]:
    """Yield function(item) for each item, in order, while threads work up to `ahead` items on.

    Without numbers, `workers` threads work up to two items each ahead. An exception of `function`
    is raised where its result would have come. While `idle()` says that the next item is not there
    yet, what was begun is yielded before it is waited for. Leaving the iterator early drops the
    work not yet begun, and does not wait for what was.
    """
    threads = max(1, workers() if threads is None else threads)
    ahead = 2 * threads if ahead is None else ahead
    waiting: deque[Future[Result]] = deque()
    executor, wait = ThreadPoolExecutor(threads), True
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            while waiting and (len(waiting) > ahead or (idle is not None and idle())):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except GeneratorExit:
        # Left behind, and perhaps collected: in any thread, also one of its own, and at any moment,
        # also while Python starts or joins a thread and holds a lock that waiting would ask for.
        wait = False
        raise
    finally:
        executor.shutdown(wait=wait, cancel_futures=True)
