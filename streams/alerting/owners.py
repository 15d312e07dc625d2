"""Who owns a deployment, as an operator writes it down. Pure."""

from __future__ import annotations

EVERYBODY = "*"
"""The deployment that stands for all that are not named."""


def owners_of(text: str) -> dict[str, str]:
    """Owners by deployment, of ``chat=team-a,*=on-call``. Raises `ValueError`."""
    found = {}
    for part in text.split(","):
        deployment, equals, owner = (each.strip() for each in part.partition("="))
        if not (deployment and equals and owner):
            raise ValueError("deployment=owner, several separated by commas, * for all others")
        found[deployment] = owner
    return found
