"""A ClickHouse that listens, from the engine's library as npm distributes it."""

from __future__ import annotations

import http.client
import platform
import sys
import tarfile
from pathlib import Path

from tests.integration.pinned import TamperedError, UnavailableError, fetched_once, run_client, sha256, tool
from tests.integration.servers import HOST, Server, free_port

PACKAGE = "@chdb/lib-linux-x64-gnu@26.7.3-stable.1"
PACKAGE_SHA256 = "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad"
LIBRARY = "libchdb.so"

PACK_OPTIONS = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
"""One more try after a second: with npm's own patience a machine without a network waits over a minute to be told."""

ANSWER_TIMEOUT_S = 2.0
CHILD = Path(__file__).with_name("clickhouse_child.py")


class ClickHouseServer(Server):
    """`url` is its HTTP face, `native_port` its native one. `default` has no password, on loopback only."""

    name = "ClickHouse"

    def __init__(self, data_dir: Path, config_file: Path | None = None) -> None:
        """Choose the ports; start nothing. `config_file` may bring users, profiles and quotas (XML)."""
        super().__init__(data_dir)
        self.port = free_port()
        self.native_port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.config_file = config_file

    def prepare(self) -> list[str]:
        """Fetch the library."""
        if (sys.platform, platform.machine(), platform.libc_ver()[0]) != ("linux", "x86_64", "glibc"):
            raise UnavailableError(f"no listening ClickHouse for {sys.platform} on {platform.machine()}: {PACKAGE}")
        library = fetched_once(f"clickhouse-{PACKAGE_SHA256[:16]}", fetch) / LIBRARY
        command = [
            *(sys.executable, str(CHILD), str(library)),
            *(f"--path={self.data_dir / 'store'}", f"--listen_host={HOST}"),
            *(f"--http_port={self.port}", f"--tcp_port={self.native_port}"),
        ]
        if self.config_file is not None:
            command.append(f"--config-file={self.config_file}")
        return command

    def answers(self) -> bool:
        """Whether the HTTP face says Ok."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def fetch(directory: Path) -> None:
    """Have npm fetch the package, check it, and unpack the library into `directory`."""
    npm = tool("npm")
    run_client([npm, "pack", *PACK_OPTIONS, PACKAGE], cwd=directory)
    archive = next(directory.glob("*.tgz"))
    if sha256(archive) != PACKAGE_SHA256:
        raise TamperedError(f"{PACKAGE} is not as pinned: its SHA-256 is {sha256(archive)}")
    with tarfile.open(archive) as package:
        member = package.getmember(f"package/{LIBRARY}")
        member.name = LIBRARY
        package.extract(member, directory, filter="data")
    archive.unlink()
