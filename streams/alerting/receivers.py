"""Who takes alerts: a webhook, or an address of the library apprise."""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

from detectors.types import Severity
from streams.alerting.addresses import Resolve, resolve
from streams.alerting.alerts import Alert
from streams.alerting.posting import NotTakenError
from streams.alerting.targets import Target, read_targets
from streams.alerting.webhook import Webhook
from streams.settings import Settings, SettingsError

_PAGERDUTY = "pagerduty://"


class Receiver(Protocol):
    """Where alerts go."""

    def tell(self, alert: Alert) -> str:
        """Return what was answered when `alert` was taken; raise `NotTakenError` when not. May take half a minute."""


class Apprise:
    """One address of the library apprise: a chat, a pager, a mailbox."""

    def __init__(self, target: Target) -> None:
        """Raises `SettingsError` for an address that apprise does not know."""
        import apprise  # noqa: PLC0415 - half a second that only who alerts that way waits

        # What it logs can name addresses, which are secrets; what went wrong is said by us.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._library = apprise
        self._address = target.apprise or ""
        if not self._known(self._address):
            raise SettingsError(f"INFERWATCH_ALERT_TARGETS: {target.name}: not one address that apprise knows")

    def tell(self, alert: Alert) -> str:
        """As plain text."""
        types = self._library.NotifyType
        kind = types.WARNING if alert.severity.rank < Severity.HIGH.rank else types.FAILURE
        if alert.severity is Severity.INFO:
            kind = types.INFO
        if alert.resolved:
            kind = types.SUCCESS
        known = self._known(self._addressed(alert))
        if not known or not known.notify(
            body=alert.text or alert.title, title=alert.title, notify_type=kind, body_format="text"
        ):
            raise NotTakenError("apprise could not deliver it")
        return "delivered"

    def _known(self, address: str) -> Any:
        made = self._library.Apprise(asset=self._library.AppriseAsset(app_id="inferwatch", secure_logging=True))
        return made if made.add(address) and len(made) == 1 else None

    def _addressed(self, alert: Alert) -> str:
        """The address; PagerDuty joins what has the same key, and closes it when it is resolved."""
        if alert.about is None or not self._address.lower().startswith(_PAGERDUTY) or "dedup=" in self._address:
            return self._address
        action = "" if "action=" in self._address else "&action=map"
        return f"{self._address}{'&' if '?' in self._address else '?'}dedup={alert.about.incident_id}{action}"


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """The targets that are set."""
    return () if settings.alert_targets is None else read_targets(settings.alert_targets)


def receiver(settings: Settings, target: Target, resolver: Resolve = resolve) -> Receiver:
    """What stands for `target`, which has no `ocsf`. Raises `SettingsError`."""
    if target.webhook is None or target.secret is None:
        return Apprise(target)
    private = settings.alert_private_addresses
    return Webhook(target.webhook, target.secret, private=private, resolve=resolver, clock=time.time)


def attempt(to: Receiver, alert: Alert) -> str:
    """Tell once. Raises `NotTakenError`, whatever a library may raise: its texts can hold addresses."""
    try:
        return to.tell(alert)
    except NotTakenError:
        raise
    except Exception as error:  # noqa: BLE001 - a receiver's library must not end the watch
        raise NotTakenError(f"{type(error).__name__} while telling it") from None
