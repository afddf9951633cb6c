"""A function in several processes that share a stage, as a launcher starts them."""

import multiprocessing
import os
import pickle
from unittest import mock

import torch

from epsam.core import distributed
from epsam.core.distributed import World, gather_parts, part_of_process
from support.mini import REPOSITORY

TIME_LIMIT_S = 600


def run_in_processes(function, size, folder, *arguments):
    """The results of `function(*arguments)` in each of `size` processes of one thread each."""
    folder.mkdir(parents=True, exist_ok=True)
    # A server that has imported torch once: its children start in no time, and none of them
    # inherits threads or locks of the tests.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.processes", "support.shared_fits"])
    # The server of Python 3.11 does not look where the tests do.
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("src", "tests"))
    processes = []
    with mock.patch.dict(os.environ, PYTHONPATH=paths):
        for rank in range(size):
            process = context.Process(target=_run, args=(function, rank, size, folder, arguments))
            process.start()
            processes.append(process)

    results = []
    for rank, process in enumerate(processes):
        process.join(TIME_LIMIT_S)
        if process.exitcode is None:
            for other in processes:
                other.kill()
        path = folder / f"{rank}.pickle"
        assert path.is_file(), f"process {rank} of {size} ended with {process.exitcode}"
        results.append(pickle.loads(path.read_bytes()))
    return results


def _run(function, rank, size, folder, arguments):
    torch.set_num_threads(1)
    if size > 1:
        distributed.start_group(World(rank, size, rank), f"file://{folder / 'meeting_point'}")
    result = function(*arguments)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))
    distributed.end_group()


def square_parts():
    """The squares of seven numbers, which the processes share."""
    return gather_parts([number * number for number in part_of_process(range(7))])
