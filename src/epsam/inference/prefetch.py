"""What is needed next is made while this is worked on: slides are read while the network is busy,
not before.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def prefetch(
    jobs: Iterable[Job], work: Callable[[Job], Result]
) -> Generator[tuple[Job, Result], None, None]:
    """Each job with its result, in order, while a thread works on the next one; close it if not all
    are wanted.

    Raises what `work` raises, in the job's turn.
    """
    coming: deque[tuple[Job, Future[Result]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for job in jobs:
            coming.append((job, thread.submit(work, job)))
            if len(coming) == 2:
                asked, result = coming.popleft()
                yield asked, result.result()
        for asked, result in coming:
            yield asked, result.result()
