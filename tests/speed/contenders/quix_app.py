"""A Quix Streams app with our decode and our detectors, one record at a time as its API has it.

It stores nothing, sends nothing, saves no state and does nothing exactly once: what is compared is the engine. The
functions are the product's own, so that no difference comes from how fast they are.
"""

from __future__ import annotations

import sys
import time

from tests.speed.contenders.given import Given, Progress, given


def main() -> None:
    """Run until ended."""
    told = given()
    sys.path.append(told.packages)  # behind our own packages, whose versions stay what they are
    run(told)


def run(told: Given) -> None:
    """The app."""
    from quixstreams import Application  # noqa: PLC0415 - it is found only now

    from detectors.base import DEPLOYMENT, PRINCIPAL  # noqa: PLC0415
    from streams.composing import make_bank, make_pipeline  # noqa: PLC0415
    from streams.dlq import Record  # noqa: PLC0415
    from streams.keys import Keys, load_keys  # noqa: PLC0415
    from streams.settings import Settings  # noqa: PLC0415

    settings = Settings(key="k" * 32)
    keys: Keys = load_keys(settings)
    pipeline = make_pipeline(settings, keys, "0" * 32)
    banks = [make_bank(settings, scope) for scope in (DEPLOYMENT, PRINCIPAL)]
    progress = Progress(told)
    application = Application(
        broker_address=told.brokers, consumer_group=told.group, auto_offset_reset="earliest", loglevel="ERROR",
        auto_create_topics=False, state_dir=told.folder,
    )  # fmt: skip
    topic = application.topic(told.topic, value_deserializer="bytes", key_deserializer="bytes")

    def take(value: bytes, _key: object, _timestamp: int, headers: object) -> None:
        record = Record(
            topic=told.topic, partition=0, offset=take.offset, time_s=time.time(), value=value,
            headers=tuple(headers or ()),
        )  # fmt: skip
        take.offset += 1
        stored = pipeline.process([record]).stored
        observations = [each.observation for each in stored]
        for bank in banks:
            bank.apply(0, record.offset, observations)
        progress.done += len(stored)

    take.offset = 0
    application.dataframe(topic).update(take, metadata=True)
    application.run()


if __name__ == "__main__":
    main()
