"""Apache Kafka with a listener for every way to come in: TLS with client certificates, SASL, SASL over TLS."""

from __future__ import annotations

import re
from pathlib import Path

from kafka.admin import KafkaAdminClient, UserScramCredentialUpsertion

from tests.integration.apache_kafka import KafkaServer
from tests.integration.servers import HOST, ServerFailedError, free_port
from tests.security.authority import Authority

USER = "watcher"
LISTENERS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")

JAAS = "org.apache.kafka.common.security"
SECURITY = """\
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.ssl.ssl.client.auth=required
"""
LOGINS = """\
listener.name.{listener}.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
"""


class SecureKafkaServer(KafkaServer):
    """`brokers_of` has the bootstrap servers by security protocol; `USER` logs in with `password`."""

    def __init__(self, data_dir: Path, authority: Authority, password: str) -> None:
        """Choose the ports; start nothing. `authority` signs the broker's certificate and those of its clients."""
        super().__init__(data_dir)
        self._authority = authority
        self._password = password
        self._ports = {listener: free_port() for listener in LISTENERS}
        self.brokers_of = {listener: f"{HOST}:{port}" for listener, port in self._ports.items()}

    def prepare(self) -> list[str]:
        """Add the listeners to the plain server's, which stays for the harness alone."""
        command = super().prepare()
        properties = self.data_dir / "server.properties"
        text = properties.read_text()
        listeners = "".join(f",{name}://{HOST}:{port}" for name, port in self._ports.items())
        text = re.sub(r"^((?:advertised\.)?listeners=.*)$", rf"\1{listeners}", text, flags=re.MULTILINE)
        protocols = "".join(f",{name}:{name}" for name in self._ports)
        text = re.sub(r"^(listener\.security\.protocol\.map=.*)$", rf"\1{protocols}", text, flags=re.MULTILINE)
        certificate, key = self._authority.issue("broker")
        keystore = self.data_dir / "keystore.pem"
        keystore.write_text(key.read_text() + certificate.read_text())
        text += SECURITY.format(keystore=keystore, truststore=self._authority.path)
        for listener in LISTENERS:
            if listener.startswith("SASL_"):
                text += LOGINS.format(listener=listener.lower(), jaas=JAAS, user=USER, password=self._password)
        properties.write_text(text)
        return command

    def add_users(self) -> None:
        """Give `USER` its password for SCRAM, which the broker keeps itself."""
        with KafkaAdminClient(bootstrap_servers=self.brokers) as admin:
            for mechanism in SCRAM:  # a request may change a user once
                done = admin.alter_user_scram_credentials(
                    [UserScramCredentialUpsertion(USER, mechanism, self._password)]
                )
                if any(done.values()):
                    raise ServerFailedError(f"Apache Kafka takes no user: {done}")
