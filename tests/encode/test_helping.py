import threading
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, get_ident

import pytest

from spacy_llm_ie.encode.helping import HelpingPool


def test_the_thread_that_waits_is_one_of_those_that_run_tasks():
    for threads in (2, 3):
        pool, all_at_once = HelpingPool(threads, "test"), Barrier(threads)

        def run(item, all_at_once=all_at_once):
            all_at_once.wait(10)  # breaks with fewer threads
            return item, get_ident()

        found = list(pool.map(run, range(2 * threads)))
        assert [item for item, _ in found] == list(range(2 * threads))
        assert len({thread for _, thread in found}) == threads
        assert get_ident() in {thread for _, thread in found}


def test_who_waits_for_anything_else_runs_tasks_until_it_is_there():
    pool, all_at_once, started = HelpingPool(2, "test"), Barrier(2), Event()
    threads = set()

    def run(item):
        threads.add(get_ident())
        all_at_once.wait(10)
        return item

    def prepare():
        started.wait(10)
        with pool.standing_by():  # so the two tasks at a time are those of the pool's one thread and of the one that waits
            threads.add(get_ident())
            return list(pool.map(run, range(4)))

    with ThreadPoolExecutor(1) as executor:
        whole = executor.submit(prepare)
        threading.Timer(0.05, started.set).start()  # when this thread waits already
        assert pool.wait(whole) == [0, 1, 2, 3]
    assert len(threads) == 3 and get_ident() in threads


def test_a_thread_that_stands_by_runs_nothing():
    pool = HelpingPool(3, "test")
    with pool.standing_by():
        assert get_ident() not in set(pool.map(lambda _: get_ident(), range(50)))
    all_at_once = Barrier(3)
    assert get_ident() in set(pool.map(lambda _: (all_at_once.wait(10), get_ident())[1], range(3)))


def test_errors_come_back_to_who_waits_and_tasks_go_on():
    pool = HelpingPool(2, "test")

    def run(item):
        if item == 3:
            raise ValueError("three")
        return item

    found = pool.map(run, range(6))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert list(pool.map(run, range(3))) == [0, 1, 2]
