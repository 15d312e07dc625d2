"""A Grafana server: how it is reached, what is tried again, and errors in one line that says what to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import niquests.exceptions
import tenacity
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaServerError, GrafanaTimeoutError

TIMEOUT_S = 15.0
ATTEMPTS = 5
"""About ten seconds in all: a Grafana that restarts is back by then, and a person who waits has not left."""

_MOST_SAID = 200

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, CHANGED_MEANWHILE, TOO_MANY = 401, 403, 404, 409, 412, 429


class GrafanaError(Exception):
    """Grafana did not do what it was asked; the message is one line of plain characters, without secrets."""

    def __init__(self, message: str, status: int = 0) -> None:
        """`status` is Grafana's, 0 where it did not answer."""
        super().__init__(message)
        self.status = status


class Access(Protocol):
    """What has to be known to reach a Grafana; `grafana_ca_path` verifies it where the system's authorities do not."""

    @property
    def grafana_url(self) -> str | None: ...  # noqa: D102 - named after the settings
    @property
    def grafana_token(self) -> str | None: ...  # noqa: D102
    @property
    def grafana_user(self) -> str | None: ...  # noqa: D102
    @property
    def grafana_password(self) -> str | None: ...  # noqa: D102
    @property
    def grafana_ca_path(self) -> Path | None: ...  # noqa: D102


class Grafana:
    """Calls to one server, each tried again while it is not there or not able."""

    def __init__(self, access: Access, pause: Callable[[float], None] = time.sleep) -> None:
        """Connect to nothing yet. `pause` waits between attempts.

        Raises `GrafanaError` where an address or a way to sign in is not set.
        """
        if access.grafana_url is None:
            raise GrafanaError("no Grafana is named: set INFERWATCH_GRAFANA_URL")
        self.url = access.grafana_url
        self.api = GrafanaApi.from_url(f"{self.url}/", credential=_credential(access), timeout=TIMEOUT_S)
        self.api.client.verify = str(access.grafana_ca_path) if access.grafana_ca_path else True
        self._pause = pause

    def get(self, path: str, **parameters: Any) -> Any:
        """What is at `path` under ``/api``; None where nothing is. Values of `parameters` may be lists."""
        try:
            return self.call(self.api.client.GET, path, params=parameters or None)
        except GrafanaError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`function`'s result, after `ATTEMPTS` at most. For calls that change nothing when they are made twice."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_not_now),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5.0),
            sleep=self._pause,
            reraise=True,
        )
        try:
            return retrying(function, *arguments, **options)
        except (GrafanaException, niquests.exceptions.RequestException, OSError, ValueError) as error:
            raise self._explained(error) from None

    def once(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`function`'s result, tried once. For calls that would do a thing twice when they are made twice."""
        try:
            return function(*arguments, **options)
        except (GrafanaException, niquests.exceptions.RequestException, OSError, ValueError) as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> GrafanaError:
        if not isinstance(error, GrafanaException) or isinstance(error, GrafanaTimeoutError):
            return GrafanaError(f"{self.url}: {_unanswered(error)}")
        status = error.status_code
        said = plain(error.response.get("message", "") if isinstance(error.response, dict) else str(error.response))
        advice = {
            UNAUTHORIZED: "Grafana does not know this token or user: see INFERWATCH_GRAFANA_TOKEN, or ..._USER and "
            "..._PASSWORD",
            FORBIDDEN: "this token or user may not do that; it needs the role Editor, for alert rules too",
            NOT_FOUND: "there is no such thing, or the address of Grafana lacks its path",
            CHANGED_MEANWHILE: "somebody saved this in between; look with `inferwatch dashboards pull-diff`",
        }.get(status, "")
        return GrafanaError(
            f"{self.url}: status {status}: {': '.join(part for part in (advice, said) if part)}", status
        )


def plain(text: str) -> str:
    """What a server said, so that it changes no terminal: one line of ASCII, cut."""
    return (
        "".join(letter if letter.isprintable() else " " for letter in text)[:_MOST_SAID]
        .encode("ascii", "backslashreplace")
        .decode()
    )


def _unanswered(error: Exception) -> str:
    """Why there was no answer, the certificate first: libraries count it as a connection that failed."""
    if isinstance(error, niquests.exceptions.SSLError):
        return f"its certificate is not accepted, see INFERWATCH_GRAFANA_CA_PATH: {plain(str(error))}"
    if isinstance(error, GrafanaTimeoutError | niquests.exceptions.Timeout):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, niquests.exceptions.ConnectionError):
        return "nobody answers: is it running, and is INFERWATCH_GRAFANA_URL its address?"
    return f"no usable answer: {plain(str(error))}"


def _credential(access: Access) -> str | tuple[str, str]:
    if access.grafana_token is not None:
        return access.grafana_token
    if access.grafana_user is None or access.grafana_password is None:
        raise GrafanaError(
            "no way to sign in to Grafana: set INFERWATCH_GRAFANA_TOKEN_FILE, or ..._USER and ..._PASSWORD_FILE"
        )
    return access.grafana_user, access.grafana_password


def _is_not_now(error: BaseException) -> bool:
    if isinstance(error, niquests.exceptions.SSLError):
        return False
    if isinstance(error, GrafanaClientError):
        return bool(error.status_code == TOO_MANY)
    return isinstance(error, GrafanaServerError | GrafanaTimeoutError | niquests.exceptions.RequestException)
