"""What findings are signs of: pure. A sign counts once, however many findings give it.

A component whose new version a person approved is no sign of tampering but of an update. An approval explains what
follows from it: a change of how the model answers that was found before it, or that began long after it, stays
unexplained, and so does a component that changed beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from detectors.types import Components, Evidence, Severity
from streams.cases.incidents import Cited

SERVED = "served_model"
OWN = Components.__struct_fields__
"""Components of the operator's own; a served model's name may be the provider's."""
COMPONENTS = (SERVED, *OWN)

APPROVED, UNAPPROVED = "an approved change", "an unapproved change"
BESIDE, APART = "a change beside the approved one", "what the approved change does not explain"
ANY_COMPONENT, OWN_COMPONENT, MANY = "any component", "own component", "several components at once"
SILENT_SHIFT = "another behavior, and no component is known to have changed"
LOAD_OF_ALL, ONE_KIND = "load of the whole deployment", "many accounts that ask for one kind of thing"
MISMATCH = "another model than promised"

CONNECTION, TOOL, ANSWER = "host of the serving side", "host in tool calls", "host in answers"
HOSTS = {"connection": CONNECTION, "tool": TOOL, "answer": ANSWER}

CONTRADICTING = frozenset(
    {
        *(UNAPPROVED, BESIDE, APART, MISMATCH, CONNECTION, TOOL, ANSWER),
        *("leak", "trigger", "unsafe artifact", "guardrail off", "logging off"),
    }
)
"""Signs that no approved change explains: with one of them it is told as if nothing had been approved."""

_SIGN_OF = {
    "served_model_mismatch": MISMATCH,
    "unsafe_artifact": "unsafe artifact",
    "guardrail_off": "guardrail off",
    "logging_off": "logging off",
    "output_drift": "behavior",
    "refusal_shift": "behavior",
    "confidence_shift": "behavior",
    "finish_reason_shift": "behavior",
    "repetition_loop": "behavior",
    "label_shift": "labels",
    "canary": "known prompts",
    "backdoor_trigger": "trigger",
    "tail_latency": "slower",
    "error_shift": "errors",
    "leakage": "leak",
    "feature_drift": "inputs",
    "extraction": "extraction",
    "coordinated_extraction": "cohort",
    "parameter_probing": "parameters",
    "token_volume": "volume",
    "cost_harvesting": "cost",
    "probing": "attacks",
    "source_blind": "blind",
    "source_thinned": "thinned",
    "pipeline.source_silent": "silent",
    "pipeline.format_changed": "format",
    "pipeline.dead_letters_rose": "dead letters",
    "pipeline.cold_start": "state refused",
}
_APPROVAL, _REFERENCE = "approved_change", "approved as"
_UNAPPROVED = frozenset({"unapproved_change", "tool_list_changed"})
_CHANGES = frozenset({"served_model_change", "served_model_mismatch", "guardrail_off", _APPROVAL, *_UNAPPROVED})
HINTS = frozenset({APART, ANSWER, "leak"})
"""Of these, what makes an approved component no suspect: it may come from elsewhere."""

_OF_AN_UPDATE = frozenset({"behavior", "labels", "known prompts", "slower", "faster", "errors"})
"""What an update may do to answers, in its time."""

_BEFORE_S, _SETTLED_S = 3_600.0, 21_600.0
"""How long before an approved change is first seen, and after, its effects may be found: it is rolled out in steps."""

_CARRIES_DATA, _BETWEEN = "whose address carries data", "usual client in between"
_AT_ONCE = 3
_LEAST_NATS = 1.0


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """One sign: what it is, which finding gave it, and the sentence with the numbers that a person reads."""

    name: str
    finding_id: str
    said: str


_AMID = {
    LOAD_OF_ALL: "load_anomaly: all callers of the deployment together call more",
    ONE_KIND: "coordinated_extraction: many accounts ask for one kind of thing, so answers differ from the usual",
}


def signs(cited: Sequence[Cited], amid: Collection[str] = ()) -> Iterator[Sign]:
    """All signs of the findings; `amid` are those of other incidents of the deployment: `LOAD_OF_ALL`, `ONE_KIND`."""
    approved = _approvals(cited)
    found: dict[str, Sign] = {}
    for finding in cited:
        for name, said in (*_simple(finding), *_changes(finding, approved), *_apart(finding, approved)):
            sign = Sign(name=name, finding_id=finding.finding_id, said=f"{finding.detector}: {said}")
            found.setdefault(name, sign)
            yield sign
    yield from _of_all(found)
    for name in sorted(amid):
        yield Sign(name=name, finding_id=cited[0].finding_id, said=_AMID[name])


def _of_all(found: Mapping[str, Sign]) -> Iterator[Sign]:
    """Signs that follow from several findings, or from none."""
    answers = found.get("known prompts") or found.get("behavior")
    if answers is not None and not found.keys() & {*COMPONENTS, UNAPPROVED, APPROVED, MISMATCH}:
        detector = answers.said.partition(":")[0]
        said = f"{detector}: the answers changed, and no component is known to have"
        yield msgspec.structs.replace(answers, name=SILENT_SHIFT, said=said)
    if found.keys() & (CONTRADICTING - HINTS):
        # Something is wrong that the approval does not explain: what was approved is a suspect again.
        for component in COMPONENTS:
            if component not in found and approved_of(component) in found:
                sign = found[approved_of(component)]
                yield msgspec.structs.replace(sign, name=component, said=f"{sign.said}, and it does not explain all")
    changed = [found[name] for name in OWN if name in found]
    if len(changed) >= _AT_ONCE:
        said = f"{len(changed)} components changed: {', '.join(name for name in OWN if name in found)}"
        yield msgspec.structs.replace(changed[0], name=MANY, said=said)


def approvals(cited: Iterable[Cited]) -> tuple[str, ...]:
    """What was approved, as a person reads it: components and references."""
    said = []
    for finding in cited:
        if finding.detector == _APPROVAL:
            reference = next((str(row.observed) for row in finding.evidence if row.name == _REFERENCE), "")
            said += [f"{row.name}{f' ({reference})' if reference else ''}" for row in components(finding)]
    return tuple(dict.fromkeys(said)) or ("its behavior",)


def _approvals(cited: Iterable[Cited]) -> dict[tuple[str, str], float]:
    """Since when each approved version serves; "" stands for a rollout that was completed.

    What is approved after the fact serves since it was first found.
    """
    found: dict[tuple[str, str], float] = {}
    for finding in cited:
        if finding.detector == _APPROVAL:
            for key in list(map(_version, components(finding))) or [("", "")]:
                found[key] = min(found.get(key, finding.onset_s), finding.onset_s)
    for finding in cited:
        for row in components(finding):
            if _version(row) in found:
                found[_version(row)] = min(found[_version(row)], finding.onset_s)
    return found


def _version(row: Evidence) -> tuple[str, str]:
    return row.name, str(row.observed)


def _simple(finding: Cited) -> Iterator[tuple[str, str]]:
    """What a finding says by its detector and its numbers."""
    by_name = {row.name: row.observed for row in finding.evidence}
    match finding.detector:
        case "latency_shift":
            yield "faster" if _number(by_name.get("step"), 0.0) < 0.0 else "slower", _facts(finding, 2)
        case "egress":
            yield HOSTS.get(str(by_name.get("where")), ANSWER), _facts(finding, 2)
        case "approved_change":
            yield APPROVED, _of(finding, _REFERENCE)
        case "load_anomaly" if _number(by_name.get("factor"), 1.0) < 1.0:
            yield "fewer calls", _facts(finding, 2)
        case "load_anomaly":
            yield "busier" if finding.severity is Severity.LOW else "load", _facts(finding, 2)
        case "new_context":
            known_client = _number(by_name.get("new client"), _LEAST_NATS) < _LEAST_NATS
            yield "journey" if known_client else "new place", _facts(finding, 3)
        case detector if detector in _SIGN_OF:
            yield _SIGN_OF[detector], _facts(finding)
    if _number(by_name.get(_BETWEEN), 0.0) > 0.0 and finding.detector == "new_context":
        yield "two at once", _of(finding, _BETWEEN)
    if _CARRIES_DATA in str(by_name.get("kind")) and finding.detector == "leakage":
        yield "leak by link", _facts(finding, 2)


def components(finding: Cited) -> Iterator[Evidence]:
    """The facts of a finding that are about components: other detectors' facts may be called like one by a sender."""
    if finding.detector in _CHANGES:
        yield from (row for row in finding.evidence if row.name in COMPONENTS)


def _changes(finding: Cited, approved: Mapping[tuple[str, str], float]) -> Iterator[tuple[str, str]]:
    """Which components a finding says are others than before."""
    for row in components(finding):
        said = f"{row.name} is {row.observed}, was {row.expected or 'not known'}"
        yield ANY_COMPONENT, said
        if finding.detector == _APPROVAL:
            yield approved_of(row.name), f"{said}, with approval"
        elif _version(row) not in approved or finding.severity is Severity.CRITICAL:  # that is: it was rejected
            yield row.name, said
            if finding.detector in _UNAPPROVED:
                yield UNAPPROVED, said
                yield unapproved_of(row.name), said
            if row.name != SERVED:
                yield OWN_COMPONENT, said
                if approved:
                    yield BESIDE, said


def _apart(finding: Cited, approved: Mapping[tuple[str, str], float]) -> Iterator[tuple[str, str]]:
    """What is not in the time of any approved change."""
    if not approved or not any(name in _OF_AN_UPDATE for name, _ in _simple(finding)):
        return
    if not any(
        finding.time_s >= from_s - _BEFORE_S and finding.onset_s <= from_s + _SETTLED_S for from_s in approved.values()
    ):
        yield APART, "it is not of the time of an approved change"


def approved_of(component: str) -> str:
    """The sign that a version of `component` was approved."""
    return f"approved {component}"


def unapproved_of(component: str) -> str:
    """The sign that a version of `component` was seen that nobody approved."""
    return f"unapproved {component}"


def _number(value: float | str | None, otherwise: float) -> float:
    return value if isinstance(value, float) else otherwise


def _of(finding: Cited, name: str) -> str:
    return next((fact(row) for row in finding.evidence if row.name == name), finding.summary)


def _facts(finding: Cited, most: int = 1) -> str:
    """The finding's first facts with their numbers, or its summary where it has none."""
    return ", ".join(map(fact, finding.evidence[:most])) or finding.summary


def fact(row: Evidence) -> str:
    """One fact as a person reads it."""
    unit = f" {row.unit}" if row.unit and row.unit not in row.name else ""
    before = "" if row.expected is None else f" (expected {_value(row.expected)})"
    return f"{row.name} {_value(row.observed)}{unit}{before}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
