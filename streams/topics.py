"""The Kafka topics, by name and size, and the verbs that make and look at them (kafka-python)."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka.errors import AuthorizationError, KafkaError, TopicAlreadyExistsError

from streams.security import kafka_python_options
from streams.settings import Settings

INFERENCE_LOGS = "inference-logs"
BY_DEPLOYMENT = "observations-by-deployment"
BY_PRINCIPAL = "observations-by-principal"
FINDINGS = "findings"
DEAD_LETTERS = "dead-letters"
INCIDENTS = "incidents"
"""Revisions of incidents with their proposed actions, for alerts, and for a gateway or a SOAR."""

CHANGES = "changes"
"""What people decided of components of deployments; who may write here may have a change approved."""

COMPONENT_REPORTS = "component-reports"
"""What attestations found on the serving side."""

ALL = (INFERENCE_LOGS, BY_DEPLOYMENT, BY_PRINCIPAL, FINDINGS, DEAD_LETTERS, INCIDENTS, CHANGES, COMPONENT_REPORTS)

MAX_MESSAGE_BYTES = 1_000_000
"""What our own producers keep a message under: Kafka's default limit of a topic."""

LARGEST_RECORD_BYTES = 32_000_000
"""What any record may have before Kafka or a verb refuses it; a setting of more raises it."""

_BOOTSTRAP_MS = 5_000
_TIMEOUT_MS = 10_000


class BrokerError(Exception):
    """Not now: Kafka did not answer or refused. The message is one line that says what to do."""


class Topic(msgspec.Struct, frozen=True):
    """A topic as it is on the broker.

    `topic_id` is the broker's UUID as 32 hex digits: a topic that was deleted and made again has another, and
    with it its offsets mean other records.
    """

    name: str
    partitions: int
    topic_id: str


def full_name(settings: Settings, topic: str) -> str:
    """The name on the broker, with the installation's prefix."""
    return settings.topic_prefix + topic


def describe(settings: Settings) -> dict[str, Topic]:
    """Our topics that exist, by their short names. Raises `BrokerError`."""
    with _admin(settings) as admin:
        found: list[dict[str, Any]] = admin.describe_topics()
    by_name = {each["name"]: each for each in found if not each.get("error_code")}
    topics = {}
    for topic in ALL:
        name = full_name(settings, topic)
        if name in by_name:
            topic_id = uuid.UUID(str(by_name[name].get("topic_id") or uuid.UUID(int=0)))
            topics[topic] = Topic(name, len(by_name[name]["partitions"]), topic_id.hex)
    return topics


def create(settings: Settings) -> list[Topic]:
    """Create the topics that are missing and say which. Raises `BrokerError`."""
    existing = describe(settings)
    missing = {
        full_name(settings, topic): {
            "num_partitions": settings.partitions,
            "replication_factor": settings.replication,
            "configs": _configuration(settings, topic),
        }
        for topic in ALL
        if topic not in existing
    }
    if missing:
        with _admin(settings) as admin, contextlib.suppress(TopicAlreadyExistsError):
            admin.create_topics(missing, wait_for_metadata=True)
    return [topic for name, topic in describe(settings).items() if name not in existing]


def progress(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """By partition of one of our topics, the end of the log and what the group has committed. Raises `BrokerError`.

    A partition that holds nothing and never was read is done: nobody commits there.
    """
    name, group = full_name(settings, topic), settings.consumer_group
    with _admin(settings) as admin:
        (found,) = admin.describe_topics([name])
        partitions = [TopicPartition(name, each["partition_index"]) for each in found["partitions"]]
        committed = admin.list_group_offsets({group: partitions})[group]
        first = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        last = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    return {
        each.partition: (
            last[each].offset,
            committed[each].offset if each in committed and committed[each].offset >= 0 else first[each].offset,
        )
        for each in partitions
    }


def retentions(settings: Settings) -> dict[str, str]:
    """Of each of our topics that exists, how long it keeps records, as a person reads it. Raises `BrokerError`."""
    names = [topic.name for topic in describe(settings).values()]
    with _admin(settings) as admin:
        found = admin.describe_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "", "retention.bytes": ""})
                for name in names
            ],
            config_filter="all",
        )
    said = {}
    for by_name in found.values():
        for name, configs in by_name.items():
            kept_ms, kept_bytes = (int(configs[key]["value"]) for key in ("retention.ms", "retention.bytes"))
            said[name] = "for ever" if kept_ms < 0 else f"{kept_ms / 3_600_000:g} hours"
            if kept_bytes >= 0:
                said[name] += f", or {kept_bytes:,} bytes a partition"
    return said


def largest_batch_bytes(settings: Settings) -> int:
    """What the topic of logs takes in one batch, and what one is inflated to at most.

    More than we read: a record that is too large is a dead letter here, not an error at its sender.
    """
    return max(LARGEST_RECORD_BYTES, 2 * settings.max_record_bytes)


def _configuration(settings: Settings, topic: str) -> dict[str, str]:
    if topic == INFERENCE_LOGS:
        return {
            "max.message.bytes": str(largest_batch_bytes(settings)),
            # The broker's clock, not the sender's: retention and the check of event times go by it.
            "message.timestamp.type": "LogAppendTime",
        }
    return {}


@contextlib.contextmanager
def _admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    security = kafka_python_options(settings)
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=settings.kafka_brokers.split(","),
            bootstrap_timeout_ms=_BOOTSTRAP_MS,
            request_timeout_ms=_TIMEOUT_MS,
            client_id="inferwatch",
            **security,
        )
    except (KafkaError, OSError) as error:
        raise _unreachable(settings, error) from error
    try:
        yield admin
    except (KafkaError, OSError) as error:
        raise _unreachable(settings, error) from error
    finally:
        admin.close()


def _unreachable(settings: Settings, error: Exception) -> BrokerError:
    advice = "check that it runs and that INFERWATCH_KAFKA_BROKERS and INFERWATCH_KAFKA_SECURITY are right"
    if isinstance(error, AuthorizationError):
        advice = f"the broker does not let {settings.kafka_user or 'us'} do that"
    elif settings.kafka_user is not None:
        # The client does not tell a refused login from a broker that is away.
        advice += ", and INFERWATCH_KAFKA_USER, ..._PASSWORD and ..._SASL_MECHANISM"
    return BrokerError(f"Kafka at {settings.kafka_brokers}: {type(error).__name__}; {advice}")
