"""Marks trust that the observations of one source reach a partition in order, whatever fails on the way."""

from __future__ import annotations

import asyncio

import pytest

from streams import sinks
from streams.sinks import Message, Sender
from streams.topics import BrokerError, Topic


class Refusing:
    """A broker that refuses some messages the first time, and answers each a turn of the loop later."""

    def __init__(self, refuses: set[bytes]) -> None:
        self.log: list[bytes] = []
        self._refuses = set(refuses)

    async def send(self, topic: str, message: Message) -> None:
        await asyncio.sleep(0)
        if message.value in self._refuses:
            self._refuses.remove(message.value)
            raise BrokerError("not now")
        self.log.append(message.value)


@pytest.mark.parametrize("refused", [{b"0"}, {b"1"}, {b"0", b"2"}])
def test_a_message_is_sent_only_when_the_one_before_it_in_its_partition_is_durable(
    refused: set[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "_LONGEST_PAUSE_S", 0.01)
    outlet = Refusing(refused)
    messages = [Message(partition=0, value=str(number).encode()) for number in range(4)]
    asyncio.run(Sender(outlet, Topic("t", 1, "0" * 32)).send(messages))
    assert outlet.log == [b"0", b"1", b"2", b"3"]
