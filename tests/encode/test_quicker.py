import pytest

from spacy_llm_ie.encode import quicker
from spacy_llm_ie.encode.quicker import TRY_EVERY, Quicker


@pytest.fixture
def clock(monkeypatch):
    """A clock that each way puts forward by what it is said to take; and which ways were called."""
    now, called, takes = [0.0], [], {"one": 3.0, "other": 2.0}

    def way(name):
        def run(given):
            called.append(name)
            now[0] += takes[name]
            return given

        return run

    monkeypatch.setattr(quicker.time, "perf_counter", lambda: now[0])
    return Quicker(way("one"), way("other")), called, takes


def test_the_quicker_way_is_taken_and_the_other_one_tried_now_and_then(clock):
    runs, called, _ = clock
    assert [runs(i, 20) for i in range(4 * TRY_EVERY)] == list(range(4 * TRY_EVERY))
    assert [i for i, name in enumerate(called, 1) if name == "one"] == [TRY_EVERY * k for k in (1, 2, 3, 4)]


def test_what_becomes_slower_is_left_after_two_times(clock):
    runs, called, takes = clock
    for _ in range(TRY_EVERY):
        runs(None, 20)
    takes["other"] = 5.0  # another program wants the processor
    del called[:]
    for _ in range(TRY_EVERY - 1):
        runs(None, 20)
    assert called == ["other"] * 2 + ["one"] * (TRY_EVERY - 3)
    takes["other"] = 2.0  # and is gone
    del called[:]
    for _ in range(2 * TRY_EVERY):
        runs(None, 20)
    assert called[0] == "other" and called[1:TRY_EVERY].count("one") <= 1


def test_a_single_slow_time_changes_nothing(clock):
    runs, called, takes = clock
    for i in range(TRY_EVERY + 5):
        takes["other"] = 50.0 if i == TRY_EVERY + 1 else 2.0
        runs(None, 20)
    assert called[TRY_EVERY:] == ["other"] * 5


def test_each_class_of_sizes_has_a_way_of_its_own(clock):
    runs, called, takes = clock
    for _ in range(2 * TRY_EVERY):
        takes["other"] = 4.0
        runs(None, 10)
        takes["other"] = 2.0
        runs(None, 500)
    assert called[-4:-2] == ["one", "other"]  # the last ones are tries


def test_times_of_a_class_are_compared_by_size(clock):
    """Texts of 33 and of 63 words are of one class; what takes twice the time for twice as many is not slower."""
    runs, called, takes = clock
    for i in range(3 * TRY_EVERY):
        size = 33 if i % 2 else 63
        takes.update(one=0.03 * (size + quicker.FIXED), other=0.02 * (size + quicker.FIXED))
        runs(None, size)
    assert called.count("one") == 3
