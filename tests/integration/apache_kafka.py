"""Apache Kafka itself, one process as broker and controller, from the jars Maven resolves."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.integration.pinned import UnavailableError, check_directory, fetched_once, run_client, sha256, tool
from tests.integration.servers import HOST, Server, ServerFailedError, free_port

DIST = Path(__file__).with_name("kafka-dist")
SUMS = DIST / "SHA256SUMS"

ANSWER_TIMEOUT_MS = 2_000

JVM = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
"""A small, quickly started virtual machine: two minutes of tests never repay an optimizing compiler."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{behind_proxy_port},CONTROLLER://{host}:{controller_port}
# A client that comes in through a proxy must be sent back to the proxy, not around it.
advertised.listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{proxy_port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
# One broker, so one copy of everything it keeps about itself.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A misspelled topic is an error here, as it is in a managed cluster.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# A killed broker may register again once its old session ran out: 9 s by default, of every restart in a test.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""

LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class KafkaServer(Server):
    """`brokers` is what a client takes as its bootstrap servers. Topics are not created by being named.

    A second listener at `behind_proxy_port` sends its clients to `proxy_port`, where nobody listens until a test
    puts a proxy there: `proxied_brokers` are the bootstrap servers of a client that only knows the proxy.
    """

    name = "Apache Kafka"

    def __init__(self, data_dir: Path) -> None:
        """Choose the ports; start nothing."""
        super().__init__(data_dir)
        self.port = free_port()
        self.controller_port = free_port()
        self.behind_proxy_port = free_port()
        self.proxy_port = free_port()
        self.brokers = f"{HOST}:{self.port}"
        self.proxied_brokers = f"{HOST}:{self.proxy_port}"

    def prepare(self) -> list[str]:
        """Fetch the jars, write the configuration, and format the log directory the first time."""
        java = tool("java")
        libraries = fetched_once(f"kafka-{sha256(SUMS)[:16]}", fetch)
        log_dir = self.data_dir / "log"
        properties = self.data_dir / "server.properties"
        logging = self.data_dir / "log4j2.properties"
        scratch = self.data_dir / "tmp"
        scratch.mkdir(exist_ok=True)
        logging.write_text(LOGGING)
        properties.write_text(
            PROPERTIES.format(
                host=HOST,
                port=self.port,
                behind_proxy_port=self.behind_proxy_port,
                proxy_port=self.proxy_port,
                controller_port=self.controller_port,
                log_dir=log_dir,
            )
        )
        run = [java, *JVM, f"-Djava.io.tmpdir={scratch}", f"-Dlog4j2.configurationFile={logging}"]
        run += ["-cp", f"{libraries}/*"]
        if not (log_dir / "meta.properties").exists():
            format_log_dir([*run, "kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(properties)])
        return [*run, "kafka.Kafka", str(properties)]

    def answers(self) -> bool:
        """Whether the broker is in its own cluster, with its fence lifted: before that it leads no partition."""
        try:
            with KafkaAdminClient(
                bootstrap_servers=self.brokers,
                request_timeout_ms=ANSWER_TIMEOUT_MS,
                bootstrap_timeout_ms=ANSWER_TIMEOUT_MS,
            ) as admin:
                return any(not broker.get("is_fenced") for broker in admin.describe_cluster()["brokers"])
        except (KafkaError, OSError):
            return False


def fetch(directory: Path) -> None:
    """Have Maven copy Kafka and its dependencies into `directory`, and check them."""
    mvn = tool("mvn")
    run_client(
        [
            *(mvn, "-q", "-B", "-f", str(DIST / "pom.xml"), "dependency:copy-dependencies"),
            *(f"-DoutputDirectory={directory}", "-DincludeScope=runtime"),
        ],
        cwd=directory,
    )
    check_directory(directory, SUMS)


def cluster_id() -> str:
    """A new cluster id in Kafka's own form: 16 bytes in URL-safe base 64. A hyphen in front would read as an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def format_log_dir(command: list[str]) -> None:
    """Run the storage tool.

    Raises:
        UnavailableError: the Java here is older than Kafka's classes.
        ServerFailedError: anything else.

    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "UnsupportedClassVersionError" in done.stderr:
        raise UnavailableError(f"{command[0]} is too old for Apache Kafka, which needs Java 17")
    if done.returncode != 0:
        raise ServerFailedError(f"Apache Kafka could not format its log directory:\n{done.stdout}{done.stderr}")
