"""A certificate authority of a test's own, and what it signs: made with the openssl command, for a day."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.integration.pinned import tool
from tests.integration.servers import HOST

KEY_OPTIONS = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


class Authority:
    """Signs certificates for servers on loopback and for clients. `path` is its own certificate, PEM."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        """Make key and certificate in `directory`. Raises `UnavailableError` where openssl is missing."""
        self._openssl = tool("openssl")
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        extensions = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        self._run(
            *("req", "-x509", *KEY_OPTIONS, "-subj", f"/CN={name}", "-days", "1", *extensions),
            *("-keyout", str(self._key), "-out", str(self.path)),
        )

    def issue(self, name: str, address: str = f"IP:{HOST}") -> tuple[Path, Path]:
        """Certificate and key files for `name` at `address`, as subjectAltName has it."""
        certificate, key, request = (self._directory / f"{name}.{suffix}" for suffix in ("crt", "key", "csr"))
        extensions = self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={address}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._run("req", "-new", *KEY_OPTIONS, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        self._run(
            *("x509", "-req", "-in", str(request), "-days", "1", "-extfile", str(extensions), "-CAcreateserial"),
            *("-CA", str(self.path), "-CAkey", str(self._key), "-out", str(certificate)),
        )
        return certificate, key

    def locked(self, key: Path, passphrase: str) -> Path:
        """A copy of `key` that needs `passphrase`."""
        locked = key.with_suffix(".locked")
        self._run("pkey", "-in", str(key), "-aes256", "-passout", f"pass:{passphrase}", "-out", str(locked))
        return locked

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], check=True, capture_output=True)
