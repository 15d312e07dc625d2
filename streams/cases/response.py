"""What is done about a finding after it is confirmed: contain, roll back, assess, notify. Pure.

The steps follow from what a detector's metadata says already, its scope and the OWASP risks it maps to, so that a
new detector has a page in the runbook without a line here. `NIST` is which outcomes of the AI RMF a step serves.
"""

from __future__ import annotations

import msgspec

from detectors.base import COHORT, DEPLOYMENT, PRINCIPAL, Metadata


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of each phase, in order; `nist` are ids in the pinned framework data."""

    contain: tuple[str, ...] = ()
    roll_back: tuple[str, ...] = ()
    assess: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    nist: tuple[str, ...] = ()


ALWAYS = Response(
    assess=(
        "Note onset, time found and time contained; keep events, findings and logs of that span from being deleted.",
    ),
    notify=("Tell the owner of the deployment what changed, since when, and what was done about it.",),
    nist=("MEASURE 2.4", "MANAGE 4.1", "MANAGE 4.3"),
)
"""What is done whatever was found."""

BY_SCOPE = {
    DEPLOYMENT: Response(
        contain=(
            "Route the deployment's traffic to a version or host that is known good, or stop it if there is none.",
        ),
        roll_back=(
            "Put back the last version from before the onset, pinned by digest, and keep the one that is taken out.",
            "Watch the same detector after it: it must fall silent.",
        ),
        assess=(
            "List principals, sessions and events of the deployment since the onset (table `inference_events`).",
            "Find who acted on those answers: people, tools, downstream systems.",
        ),
        nist=("MANAGE 2.4",),
    ),
    PRINCIPAL: Response(
        contain=("Throttle the principal at the gateway; revoke its key when the owner cannot explain the calls.",),
        roll_back=("Give the owner a new key, and put limits back to what the principal needed before the onset.",),
        assess=(
            "List the principal's calls since the onset, their networks, clients, models and cost.",
            "Look for the same prompts, network or client among other principals.",
        ),
        notify=("Tell the owner of the key; when it was stolen, they must look where it leaked.",),
        nist=("MANAGE 2.3",),
    ),
    COHORT: Response(
        contain=("Throttle the members together: one by one they stay below any limit.",),
        roll_back=("Put limits back only for members that were explained.",),
        assess=("List the members' calls since the onset, and accounts that share what they share.",),
        nist=("MANAGE 2.3",),
    ),
}
"""By the scope of a detector."""

BY_RISK = {
    "LLM01:2025": Response(
        contain=("Block the wording or the document that carries the instruction; take tools away from the session.",),
        roll_back=("Put back guardrail, system prompt and policy from before the onset if one of them changed.",),
        assess=("Read what was answered after the wording passed, and which tools were called.",),
        nist=("MEASURE 2.7",),
    ),
    "LLM02:2025": Response(
        contain=("Revoke each secret that was shown; withhold answers of that kind at the gateway.",),
        assess=("Say whose data was shown, to whom, and how often; ask a lawyer whether a deadline for notice runs.",),
        notify=("Tell data protection and the people concerned, within the deadline that applies.",),
        nist=("MEASURE 2.10",),
    ),
    "LLM03:2025": Response(
        contain=("Pin every component by digest, and stop automatic updates of the one that changed.",),
        roll_back=("Take component and its signature from the registry anew, and check them on another machine.",),
        assess=("Find every deployment that uses the same digest, package or provider.",),
        notify=("Tell the provider or maintainer of the component, and who else here uses it.",),
        nist=("MANAGE 3.1", "MAP 4.2", "GOVERN 6.2"),
    ),
    "LLM04:2025": Response(
        contain=("Stop training, fine-tuning and indexing from data of after the onset.",),
        roll_back=("Go back to weights, adapter and index from before the data was taken in.",),
        assess=("Score a stored, labeled sample before and after, and find what the affected inputs have in common.",),
        nist=("MANAGE 3.2",),
    ),
    "LLM05:2025": Response(
        contain=("Stop rendering links and images of answers, and running what they contain.",),
        assess=("Look in proxy and browser logs for requests that the answers caused.",),
        nist=("MEASURE 2.7",),
    ),
    "LLM06:2025": Response(
        contain=("Take away tools and permissions that the task does not need; ask a person before each call.",),
        roll_back=("Undo what the tools did, newest first; put back the tool list that was approved.",),
        assess=("List all tool calls since the onset, with their arguments and hosts.",),
        nist=("MANAGE 2.4",),
    ),
    "LLM07:2025": Response(
        contain=("Take secrets and rules that must stay secret out of the system prompt.",),
        assess=("Say what of the system prompt is known outside, and what else relies on it.",),
        nist=("MEASURE 2.7",),
    ),
    "LLM08:2025": Response(
        contain=("Take the documents that are retrieved for the affected prompts out of the index.",),
        roll_back=("Rebuild the index from sources of before the onset.",),
        assess=("List the answers that cite those documents.",),
        nist=("MEASURE 2.7",),
    ),
    "LLM09:2025": Response(
        contain=("Put a person between answers and decisions until a sample was checked.",),
        assess=("Check a sample of answers since the onset against sources.",),
        nist=("MANAGE 2.4",),
    ),
    "LLM10:2025": Response(
        contain=("Cap requests, tokens and spending per key and per deployment.",),
        assess=("Add up tokens and cost since the onset above what was usual.",),
        notify=("Tell who pays, and the provider if the bill is in dispute.",),
        nist=("MEASURE 2.7",),
    ),
}
"""By OWASP LLM risk."""


def response_to(metadata: Metadata) -> Response:
    """The steps for a detector: of its scope first, then of each of its risks, each step once."""
    parts = [BY_SCOPE[metadata.scope], *(BY_RISK[risk] for risk in metadata.owasp), ALWAYS]
    return Response(
        **{
            phase: tuple(dict.fromkeys(step for part in parts for step in getattr(part, phase)))
            for phase in Response.__struct_fields__
        }
    )
