"""A pool of threads in which nobody is idle: whoever waits for a task runs others meanwhile."""

import contextlib
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Iterator, Sequence, Tuple, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class HelpingPool:
    """Runs tasks in as many threads as it is told, one of which is the one that waits for them.

    A pipeline has one thread that reads documents, and waits for its encoder now and then. With a pool thread for each processor
    it would be one thread too many: they all would be interrupted, and would find their caches full of what others need. So there
    is one pool thread less, and the reading thread encodes when it has nothing to read.

    threads (int): How many run tasks at the same time, 2 or more.
    name (str): What the names of the threads begin with.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._others = ThreadPoolExecutor(threads - 1, thread_name_prefix=name)
        self._tasks: Deque[Tuple[Future, Callable, object]] = deque()
        self._changed = threading.Condition()
        self._mine = threading.local()

    def map(self, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[ResultT]:
        """Call a function with each item. YIELDS: What it returns, in order. RAISES: What it raises."""
        futures: Sequence[Future] = [Future() for _ in items]
        with self._changed:
            self._tasks.extend((future, function, item) for future, item in zip(futures, items))
            self._changed.notify_all()
        for _ in items:
            self._others.submit(self._run_next)
        return (self.wait(future) for future in futures)

    def wait(self, future: Future) -> ResultT:
        """Wait until something is done, and run tasks until then. RETURNS: Its result. RAISES: What it raised.

        future (Future): A task of this pool, or anything that ends when some tasks are done.
        """
        if not self.stands_by() and not future.done():
            future.add_done_callback(self._notify)
            while not future.done():
                with self._changed:
                    self._changed.wait_for(lambda: future.done() or self._tasks)
                if not future.done():
                    self._run_next()
        return future.result()

    @contextlib.contextmanager
    def standing_by(self) -> Iterator[None]:
        """While the context lasts this thread runs no tasks when it waits, since there are enough others that do."""
        self._mine.stands_by = True
        try:
            yield
        finally:
            self._mine.stands_by = False

    def stands_by(self) -> bool:
        """Whether this thread only waits for others; see `standing_by`."""
        return getattr(self._mine, "stands_by", False)

    def _notify(self, _: Future) -> None:
        with self._changed:
            self._changed.notify_all()

    def _run_next(self) -> None:
        """Run the oldest task, if another thread has not done so already."""
        try:
            future, function, item = self._tasks.popleft()
        except IndexError:
            return
        try:
            future.set_result(function(item))
        except BaseException as error:
            future.set_exception(error)  # for who waits for it
