import threading

import pytest

from epsam.inference.streaming import prefetch


def test_results_come_in_order_and_only_the_next_is_made_meanwhile():
    made, seen = [], []
    for job, result in prefetch(range(5), lambda job: made.append(job) or job * 10):
        seen.append((job, result))
        assert len(made) <= job + 2
    assert seen == [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)]
    assert list(prefetch([], lambda job: job)) == []


def test_the_next_is_made_while_this_is_worked_on():
    """The work on 1 ends only once 0 is being worked on, so that neither waits for the other for
    ever.
    """
    working = threading.Event()

    def work(job):
        assert job == 0 or working.wait(60)
        return job

    for job, _ in prefetch(range(2), work):
        assert job == 0 or working.is_set()
        working.set()


def test_an_error_comes_in_its_turn():
    chunks = prefetch([4, 2, 0, 1], lambda job: 8 // job)
    assert [next(chunks), next(chunks)] == [(4, 2), (2, 4)]
    with pytest.raises(ZeroDivisionError):
        next(chunks)


def test_nothing_more_is_made_once_it_is_closed():
    # Libraries leave threads of their own.
    made, before = [], set(threading.enumerate())
    chunks = prefetch(range(100), lambda job: made.append(job))
    next(chunks)
    assert set(threading.enumerate()) - before
    chunks.close()
    assert len(made) <= 2
    assert not set(threading.enumerate()) - before
