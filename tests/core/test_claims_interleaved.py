"""Claims of processes that are interleaved line by line, one of which may be killed at any of them:
no two hold a claim at once, and what a killed one has left is cleaned up.
"""

import os
import shutil
import time

import pytest

from epsam.core.claims import STALE_S, take_claim
from epsam.core.errors import BusyError
from support.interleaved import Processes

SIZE = 3
ATTEMPTS = 3


class SharedWork:
    """Processes that take a claim, write a folder named after it, and give it up."""

    def __init__(self, root, seed, kill_after):
        self.folder = root / "claims" / "a slide"
        self.results = root / "results"
        self.results.mkdir(parents=True)
        self.claims = {}
        self.n_taken = 0
        self.processes = Processes(SIZE, self.work, seed, kill_after)

    def work(self, number):
        for _ in range(ATTEMPTS):
            try:
                claim = take_claim(self.folder, self.clean_up)
            except BusyError:
                continue
            self.claims[number] = claim
            self.n_taken += 1
            (self.results / claim.token).mkdir()
            self.processes.pause()
            assert claim.is_held()
            (self.results / claim.token).rmdir()
            del self.claims[number]
            claim.give_up()

    def clean_up(self, token):
        # A list: reading the token takes a turn, in which another process may come or go.
        for number, claim in list(self.claims.items()):
            assert claim.token != token or number in self.processes.killed
        shutil.rmtree(self.results / token, ignore_errors=True)

    def check(self):
        alive = self.claims.keys() - self.processes.killed
        assert len([number for number in alive if self.claims[number].is_held()]) <= 1

    def run(self):
        self.processes.run(self.check)
        # A further process, which comes when all others have ended.
        take_claim(self.folder, self.clean_up).give_up()
        assert not self.folder.exists()
        assert list(self.results.iterdir()) == []


def run_many(root, seeds, kill_after=lambda seed: None, prepare=lambda work: None):
    n_taken = 0
    for seed in seeds:
        work = SharedWork(root / str(seed), seed, kill_after(seed))
        prepare(work)
        work.run()
        n_taken += work.n_taken
    # It is no test if they only refuse each other.
    assert n_taken > len(seeds)


def leave_stale_claim(work):
    """A claim of another machine whose process is gone, with what it has written."""
    work.folder.mkdir(parents=True)
    (work.results / "cafe").mkdir()
    (work.folder / "elsewhere.7.cafe").touch()
    touched = time.time() - STALE_S - 60
    for path in (work.folder / "elsewhere.7.cafe", work.folder):
        os.utime(path, (touched, touched))


# A round of a process has about fifty turns.
@pytest.mark.parametrize("prepare", [lambda work: None, leave_stale_claim])
def test_no_two_hold_a_claim_and_nothing_is_left(tmp_path, prepare):
    run_many(tmp_path / "all", range(5), prepare=prepare)
    run_many(tmp_path / "killed", range(7), lambda seed: 9 * seed + 1, prepare)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("prepare", [lambda work: None, leave_stale_claim])
def test_the_same_in_many_more_orders(tmp_path, prepare):
    run_many(tmp_path / "all", range(100, 600), prepare=prepare)
    run_many(tmp_path / "killed", range(100, 900), lambda seed: seed % 80 + 1, prepare)
