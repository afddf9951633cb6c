"""Who may work on a piece of work: one process at a time, until it is gone."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from epsam.core import claims
from epsam.core.claims import STALE_S, hold_claim, take_claim
from epsam.core.errors import BusyError, ClaimLostError
from support.holder import CLAIM, SOURCE, holding

TAKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from epsam.core.claims import take_claim
from epsam.core.errors import BusyError
for line in sys.stdin:
    try:
        claims = take_claim(Path(line.strip()))
        print("taken", flush=True)
    except BusyError:
        print("busy", flush=True)
"""
LOOKER = """
import fcntl, sys
stream = open(sys.argv[1], "r+")
fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.read()
"""
N_TAKERS = 3
ROUNDS = 40


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "claims" / "a slide"


def write_claim(folder, age_s, holder="elsewhere.7.cafe"):
    """A claim of a process of another machine that last gave a sign of life `age_s` ago."""
    folder.mkdir(parents=True)
    (folder / holder).touch()
    touched = time.time() - age_s
    for path in (folder / holder, folder):
        os.utime(path, (touched, touched))


def test_a_claim_is_refused_while_its_holder_lives_and_free_at_its_end(folder):
    with (
        holding(folder, CLAIM) as other,
        pytest.raises(BusyError, match=f"in use by process {other.pid} on "),
    ):
        take_claim(folder)
    for _ in range(2):
        with hold_claim(folder) as claim:
            assert claim.is_held()
            with pytest.raises(BusyError, match=f"process {os.getpid()} on"):
                take_claim(folder)
    assert list(folder.parent.iterdir()) == []


def test_the_claim_of_a_killed_process_is_taken_at_once_even_while_its_children_live(folder):
    with holding(folder, CLAIM) as other:
        (holder,) = folder.iterdir()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        cleaned = []
        with hold_claim(folder, cleaned.append):
            assert cleaned == [holder.name.rsplit(".", 1)[1]]


@pytest.mark.parametrize("age_s", [0, STALE_S - 60])
def test_a_fresh_claim_of_another_machine_is_refused(folder, age_s):
    write_claim(folder, age_s)
    with pytest.raises(BusyError, match="process 7 on elsewhere"):
        take_claim(folder)
    assert [path.name for path in folder.iterdir()] == ["elsewhere.7.cafe"]


def test_a_stale_claim_is_taken_over_and_fresh_from_then_on(folder):
    write_claim(folder, STALE_S + 60)
    cleaned = []
    claim = take_claim(folder, cleaned.append)
    (holder,) = folder.iterdir()
    assert (cleaned, claim.is_held()) == (["cafe"], True)
    assert time.time() - holder.stat().st_mtime < 60
    claim.give_up()
    assert not folder.exists()


def test_a_claim_taken_over_while_another_process_looks_at_it_is_held(folder):
    # The other process has locked the old holder's file to see whether it lives.
    write_claim(folder, STALE_S + 60)
    (old,) = folder.iterdir()
    looking = subprocess.Popen(
        [sys.executable, "-c", LOOKER, str(old)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert looking.stdout.readline() == "locked\n"
    claim = take_claim(folder)
    looking.communicate()
    taker = subprocess.run(
        [sys.executable, "-c", TAKER, SOURCE],
        input=f"{folder}\n",
        capture_output=True,
        text=True,
    )
    assert (taker.stdout, claim.is_held()) == ("busy\n", True)


def test_the_claim_of_an_ended_process_with_the_number_of_this_one_is_free(folder):
    # After a restart of the machine, or in a container, where numbers begin anew.
    write_claim(folder, 0, f"{socket.gethostname()}.{os.getpid()}.cafe")
    cleaned = []
    with hold_claim(folder, cleaned.append):
        assert cleaned == ["cafe"]


def test_a_takeover_that_was_cut_off_is_ended_by_the_next_process(folder):
    # It was killed before it had cleaned up.
    write_claim(folder, 0, "elsewhere.7.cafe.lost")
    cleaned = []
    with hold_claim(folder, cleaned.append) as claim:
        assert (cleaned, claim.is_held()) == (["cafe"], True)


def test_a_removed_file_that_is_still_open_somewhere_makes_a_claim_busy(folder):
    # NFS keeps it under such a name, and the folder cannot be replaced meanwhile.
    write_claim(folder, STALE_S + 60, ".nfs0000000000000007")
    with pytest.raises(BusyError, match="in use by others"):
        take_claim(folder)
    (folder / ".nfs0000000000000007").unlink()
    take_claim(folder).give_up()


def test_an_empty_claim_whose_holder_was_killed_while_giving_it_up_is_free(folder):
    folder.mkdir(parents=True)
    with hold_claim(folder) as claim:
        assert claim.is_held()


def test_a_holder_notices_that_its_claim_was_taken_over_and_leaves_the_new_one(folder):
    with hold_claim(folder) as claim:
        (holder,) = folder.iterdir()
        holder.rename(folder / "elsewhere.7.cafe")
        claim.beat()
        assert not claim.is_held()
        with pytest.raises(ClaimLostError, match="a slide: another process has taken it over"):
            claim.require_held()
    assert [path.name for path in folder.iterdir()] == ["elsewhere.7.cafe"]


def test_a_heart_beats_while_the_claim_is_held(folder, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    with hold_claim(folder):
        (holder,) = folder.iterdir()
        os.utime(holder, (0, 0))
        for _ in range(1000):
            if holder.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert time.time() - holder.stat().st_mtime < 60


@pytest.mark.parametrize("age_s", [None, STALE_S + 60])
def test_of_several_takers_at_once_one_succeeds(tmp_path, age_s):
    takers = []
    for _ in range(N_TAKERS):
        command = [sys.executable, "-c", TAKER, SOURCE]
        takers.append(
            subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    try:
        for number in range(ROUNDS):
            folder = tmp_path / "claims" / str(number)
            if age_s is not None:
                write_claim(folder, age_s)
            for taker in takers:
                taker.stdin.write(f"{folder}\n")
                taker.stdin.flush()
            answers = [taker.stdout.readline().strip() for taker in takers]
            assert sorted(answers) == ["busy"] * (N_TAKERS - 1) + ["taken"]
            assert len(list(folder.iterdir())) == 1
    finally:
        for taker in takers:
            taker.kill()
            taker.communicate()
