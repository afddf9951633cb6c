"""Several processes in one: threads that take turns line by line in `epsam.core.claims`, in an
order that is drawn. Each has a process number and locks of its own.
"""

import os
import random
import sys
import threading
from unittest import mock

from epsam.core import claims

REAL_PID = os.getpid()
SWITCH = 0.3
"""How likely another process has the next turn."""


class KilledError(BaseException):
    """Ends the thread of a process that is stopped for good."""


class LockedFile:
    """An open file; closing it releases the lock of its process, as with POSIX locks."""

    def __init__(self, stream, owners, pid):
        self.stream, self.owners, self.pid = stream, owners, pid
        self.inode = os.fstat(stream.fileno()).st_ino

    def lock(self):
        return self.owners.setdefault(self.inode, self.pid) == self.pid

    def close(self):
        if self.owners.get(self.inode) == self.pid:
            del self.owners[self.inode]
        self.stream.close()


class Processes:
    """`size` processes that call `work(number)`. One is killed after `kill_after` turns of it, or
    none: it has no further turn and loses its locks.
    """

    def __init__(self, size, work, seed, kill_after=None):
        self._work = work
        self._random = random.Random(seed)
        self._kill_after = kill_after
        self._owners = {}
        self._local = threading.local()
        self._turns = [threading.Semaphore(0) for _ in range(size)]
        self._turn_is_over = threading.Semaphore(0)
        self._ended = set()
        self._is_end = False
        self._errors = []
        self.killed = set()

    def run(self, check):
        """Let all of them work to their end; `check` is called after each turn."""
        threads = []
        for number in range(len(self._turns)):
            threads.append(threading.Thread(target=self._run, args=(number,)))
        with (
            mock.patch.object(os, "getpid", self._pid),
            mock.patch.object(claims, "_open_locked", self._open_locked),
        ):
            for thread in threads:
                thread.start()
            try:
                self._take_turns(check)
            finally:
                self._is_end = True
                for turn in self._turns:
                    turn.release()
                for thread in threads:
                    thread.join()
        if self._errors:
            raise self._errors[0]

    def pause(self):
        """Called by a process: let others have their turn."""
        self._turn_is_over.release()
        self._turns[self._local.number].acquire()
        if self._is_end:
            sys.settrace(None)
            raise KilledError

    def _take_turns(self, check):
        victim = self._random.randrange(len(self._turns))
        turns_of_victim = 0
        number = 0
        while True:
            running = set(range(len(self._turns))) - self._ended - self.killed
            if not running:
                return
            if number not in running or self._random.random() < SWITCH:
                number = self._random.choice(sorted(running))
            self._turns[number].release()
            self._turn_is_over.acquire()
            turns_of_victim += number == victim
            if number == victim and turns_of_victim == self._kill_after:
                self._kill(victim)
            check()

    def _kill(self, number):
        self.killed.add(number)
        for inode, pid in list(self._owners.items()):
            if pid == number + 1:
                del self._owners[inode]

    def _run(self, number):
        self._local.number = number
        self._turns[number].acquire()
        sys.settrace(self._trace)
        try:
            self._work(number)
        except KilledError:
            pass
        except BaseException as error:  # noqa: BLE001
            self._errors.append(error)
        finally:
            sys.settrace(None)
            self._ended.add(number)
            self._turn_is_over.release()

    def _trace(self, frame, event, argument):
        if frame.f_code.co_filename != claims.__file__:
            return None
        if event == "line":
            self.pause()
        return self._trace

    def _pid(self):
        number = getattr(self._local, "number", None)
        return REAL_PID if number is None else number + 1

    def _open_locked(self, path):
        file = LockedFile(path.open("r+"), self._owners, self._pid())
        self.pause()
        return file, file.lock()
