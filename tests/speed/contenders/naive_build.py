"""The build everyone starts with: one record is one Faust event, River learns record by record, one insert each.

A decoded call gives five numbers to an anomaly detector and three drift detectors of its deployment and one of its
caller; the row is inserted before the next call is looked at. No privacy, no snapshots, no exactly-once.
"""

from __future__ import annotations

import math
from typing import Any

import clickhouse_connect
import faust
from river import anomaly, compose, drift, preprocessing

from tests.speed.contenders.bare_agent import app as bare
from tests.speed.contenders.bare_agent import run
from tests.speed.contenders.given import Given, Progress

TABLE = """
CREATE TABLE IF NOT EXISTS naive (time Float64, deployment String, principal String, prompt String, output String,
latency_s Float64, input_tokens UInt32, output_tokens UInt32, score Float64, drifts UInt8)
ENGINE = MergeTree ORDER BY (deployment, time)
"""


class Watched:
    """What is learned of one deployment."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.anomaly = compose.Pipeline(preprocessing.StandardScaler(), anomaly.HalfSpaceTrees(seed=1))
        self.drifts = (drift.ADWIN(), drift.ADWIN(), drift.PageHinkley())


class Naive:
    """All deployments and callers."""

    def __init__(self, told: Given) -> None:
        """Connect and make the table."""
        address, _, port = told.url.rpartition(":")
        self._client = clickhouse_connect.get_client(
            host=address.removeprefix("http://"), port=int(port), database=told.database
        )
        self._client.command(TABLE)
        self._deployments: dict[str, Watched] = {}
        self._callers: dict[str, drift.ADWIN] = {}

    def take(self, event: dict[str, Any]) -> None:
        """One call: learn it, then store it."""
        prompt, output = event["input_messages"][-1]["content"], event["output_messages"][-1]["content"]
        features = {
            "latency": event["latency_s"],
            "input": event["input_tokens"],
            "output": event["output_tokens"],
            "words": len(output.split()),
            "ratio": math.log1p(len(output) / (1 + len(prompt))),
        }
        watched = self._deployments.setdefault(event["deployment"], Watched())
        score = watched.anomaly.score_one(features)
        watched.anomaly.learn_one(features)
        drifts = 0
        for detector, name in zip(watched.drifts, ("latency", "output", "words"), strict=True):
            detector.update(features[name])
            drifts += detector.drift_detected
        self._callers.setdefault(event["principal"], drift.ADWIN()).update(event["input_tokens"])
        row = [event["time_s"], event["deployment"], event["principal"], prompt, output, event["latency_s"]]
        row += [event["input_tokens"], event["output_tokens"], score, drifts]
        self._client.insert("naive", [row])


def app(told: Given, progress: Progress) -> faust.App:
    """The app."""
    naive = Naive(told)
    made = bare(told, progress)
    made.agents.clear()
    source = made.topic(told.topic, value_serializer="json")

    async def agent(stream: Any) -> None:
        async for event in stream:
            naive.take(event)
            progress.done += 1

    made.agent(source, name="naive")(agent)
    return made


if __name__ == "__main__":
    run(app)
