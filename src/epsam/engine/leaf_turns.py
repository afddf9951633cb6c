"""Several computations that take turns: each runs alone until it needs something from all others.

The leaves of a batch go through a network one by one, so that every operation has the shapes of one
leaf. Only batch norm needs all leaves at once. A leaf is therefore a thread that waits there until
the others have come as far; no two threads ever compute at the same time.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from torch import Tensor

Join = Callable[[Any, list[Tensor]], Sequence[Tensor]]
"""(what all leaves wait for, a tensor of each) → a tensor for each."""


class _AbandonedError(Exception):
    """Ends a leaf that waits, when another one has failed."""


@dataclass(frozen=True)
class _Waiting:
    """A leaf needs `place`, such as a layer, applied to the tensors of all leaves."""

    place: Any
    tensor: Tensor


class LeafTurns:
    """The leaves of one step. `before_turn` and `after_turn` get the number of the leaf whose turn
    begins or ends.
    """

    def __init__(
        self, before_turn: Callable[[int], None], after_turn: Callable[[int], None]
    ) -> None:
        self._before_turn = before_turn
        self._after_turn = after_turn
        self._messages: SimpleQueue[_Waiting | Future[Any]] = SimpleQueue()
        self._answers: list[SimpleQueue[Tensor | _AbandonedError | None]] = []
        self._leaf = threading.local()

    def run(self, functions: Sequence[Callable[[], Any]], join: Join) -> list[Any]:
        """The results of the functions, one for each leaf. Raises what one of them raises."""
        self._answers = [SimpleQueue() for _ in functions]
        with ThreadPoolExecutor(len(functions)) as threads:
            for number, function in enumerate(functions):
                leaf = threads.submit(self._run_leaf, number, function)
                leaf.add_done_callback(self._messages.put)
            try:
                return self._take_turns(join)
            finally:
                # After an error, leaves that wait would do so for ever.
                for answers in self._answers:
                    answers.put(_AbandonedError())

    def wait_for_others(self, place: Any, tensor: Tensor) -> Tensor:
        """Called by a leaf: its part of what `join` makes of the tensors of all leaves."""
        self._messages.put(_Waiting(place, tensor))
        answer = self._answers[self._leaf.number].get()
        if not isinstance(answer, Tensor):
            raise _AbandonedError
        return answer

    def _run_leaf(self, number: int, function: Callable[[], Any]) -> Any:
        self._leaf.number = number
        if self._answers[number].get() is not None:
            raise _AbandonedError
        return function()

    def _take_turns(self, join: Join) -> list[Any]:
        answers: Sequence[Tensor | None] = [None] * len(self._answers)
        while True:
            waiting: list[_Waiting] = []
            results: list[Any] = []
            for number, answer in enumerate(answers):
                message = self._take_turn(number, answer)
                if isinstance(message, _Waiting):
                    waiting.append(message)
                else:
                    results.append(message.result())
            if not waiting:
                return results
            if results or len({id(message.place) for message in waiting}) > 1:
                raise RuntimeError("the leaves of a batch take different ways in the network")
            answers = join(waiting[0].place, [message.tensor for message in waiting])

    def _take_turn(self, number: int, answer: Tensor | None) -> "_Waiting | Future[Any]":
        """Let a leaf go on until it waits again or ends."""
        self._before_turn(number)
        self._answers[number].put(answer)
        message = self._messages.get()
        self._after_turn(number)
        return message
