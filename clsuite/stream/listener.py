"""What a stream reports to a listener, which influences neither the training nor the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning as L
from torch import Tensor

if TYPE_CHECKING:
    from clsuite.stream.loop import Stream


class StreamListener(L.Callback):
    """Receives what happens in a stream, and as a callback also what happens in the training; this one ignores it."""

    def on_stream_begin(self, stream: Stream) -> None:
        """Called before the first task that is learned, which is not the first of the stream if it was resumed.

        The evaluation before the stream is done.
        """

    def on_value(self, name: str, value: Tensor | float) -> None:
        """Called with a value that a plugin logs."""

    def on_evaluated(self, stream: Stream, row: int) -> None:
        """Called after an evaluation, with the row of the accuracy matrix that it has filled."""

    def before_checkpoint(self) -> None:
        """Called before the state within a task is saved: what was received so far is not received again."""


def sent_to(*receivers: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """A receiver of logged values that gives them to several, in order; the first may refuse a value."""

    def send(name: str, value: Any) -> None:
        for receive in receivers:
            receive(name, value)

    return send
