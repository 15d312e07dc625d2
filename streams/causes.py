"""Why it happened: explanations of an incident in order, each with what speaks for and against it. Pure.

A finding gives signs (`signs`), a cause gets points for the signs that it would leave and loses points for those it
would not (`_POINTS`). A sign counts once, however many findings give it. The points are judgment, written down in one
table so that it can be argued about; `UNKNOWN` always holds some, so that weak evidence never looks like an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from detectors.types import Components, Evidence
from streams.incidents import Cause, Cited

WEIGHTS, ADAPTER, PLUGIN, INDEX = "weights_modified", "adapter_or_template", "plugin_compromised", "index_poisoned"
CODE, PROVIDER, UPDATE, LOAD = "code_tampered", "provider_update", "legitimate_update", "load"
MIX, EXTRACTION, STOLEN, PROMPTS = "traffic_mix", "extraction", "key_stolen", "prompt_attack"
BLIND, UNKNOWN = "watch_lost", "unknown"

TITLES = {
    WEIGHTS: "The model's weights were modified",
    ADAPTER: "An adapter, tokenizer or prompt template was changed",
    PLUGIN: "A plugin or tool server was compromised",
    INDEX: "The retrieval index was poisoned",
    CODE: "The inference code or its image was tampered with",
    PROVIDER: "The provider updated the model silently",
    UPDATE: "A legitimate update",
    LOAD: "Load",
    MIX: "The traffic mix changed",
    EXTRACTION: "The model is being extracted",
    STOLEN: "A key was stolen",
    PROMPTS: "A caller attacks the model with prompts",
    BLIND: "The deployment is no longer fully seen",
    UNKNOWN: "Unknown",
}

APPROVED, UNAPPROVED = "an approved change", "an unapproved change"
SERVED = "served_model"
LOAD_SIGNS = frozenset({"load", "slower", "errors"})
"""What is seen of load alone."""

COMPONENTS = (SERVED, *Components.__struct_fields__)
_ANY, _OWN = "any component", "own component"
_SILENT_SHIFT = "another behavior, and no component is known to have changed"
_UNKNOWN_POINTS = 1.5
CONFIDENT = 0.4
"""The share of all points from which the likeliest cause is said without a question mark."""

_MOST_SAID = 6

_SIGN_OF = {
    "approved_change": APPROVED,
    "unapproved_change": UNAPPROVED,
    "served_model_mismatch": "another model than promised",
    "tool_list_changed": "tool_list",
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
    "load_anomaly": "load",
    "feature_drift": "inputs",
    "extraction": "extraction",
    "coordinated_extraction": "cohort",
    "parameter_probing": "parameters",
    "new_context": "new place",
    "token_volume": "volume",
    "cost_harvesting": "cost",
    "probing": "attacks",
    "source_blind": "blind",
    "source_thinned": "thinned",
    "pipeline.source_silent": "silent",
    "pipeline.format_changed": "format",
    "pipeline.dead_letters_rose": "dead letters",
}
_CHANGES = ("served_model_change", "unapproved_change", "approved_change", "served_model_mismatch")
_HOSTS = {"connection": "host of the serving side", "tool": "host in tool calls", "answer": "host in answers"}
_CONNECTION, _TOOL, _ANSWER = _HOSTS.values()

_POINTS: Mapping[str, Mapping[str, float]] = {
    WEIGHTS: {"weights": 4, "unsafe artifact": 2.5, "trigger": 2.5, "known prompts": 1, "behavior": 1, APPROVED: -4},
    ADAPTER: {
        "adapter": 4.5,
        "prompt_template": 4.5,
        "tokenizer": 4,
        "trigger": 1.5,
        "behavior": 1,
        "known prompts": 1,
        APPROVED: -4,
    },
    PLUGIN: {"tool_list": 4.5, _TOOL: 3.5, _CONNECTION: 1.5, "leak": 1.5, APPROVED: -3},
    INDEX: {"retrieval_index": 4.5, _ANSWER: 2.5, "leak": 0.5, "behavior": 0.5, APPROVED: -3},
    CODE: {
        "image": 4,
        "package_set": 3.5,
        "guardrail": 2,
        "guardrail off": 3,
        "logging off": 2,
        _CONNECTION: 2.5,
        "slower": 1.25,
        "unsafe artifact": 1,
        "errors": 0.5,
        "leak": 0.5,
        "load": -1,
        APPROVED: -4,
    },
    PROVIDER: {
        "behavior": 2,
        "known prompts": 3,
        SERVED: 3,
        "another model than promised": 2,
        "slower": 1,
        "faster": 1,
        _SILENT_SHIFT: 1,
        _OWN: -3,
        _CONNECTION: -2,
        "trigger": -1.5,
        "inputs": -1.5,
        APPROVED: -3,
    },
    UPDATE: {
        APPROVED: 8,
        _ANY: 1.5,
        UNAPPROVED: -3,
        _CONNECTION: -2,
        _TOOL: -2,
        "leak": -2,
        "trigger": -4,
        "another model than promised": -2,
    },
    LOAD: {"load": 3, "slower": 1, "errors": 1, _ANY: -2, "behavior": -1, _CONNECTION: -1.5, "known prompts": -2},
    MIX: {"inputs": 4, "labels": 1.5, "behavior": 1, "load": 0.5, "known prompts": -3, _ANY: -2},
    EXTRACTION: {"extraction": 4, "cohort": 5, "parameters": 2.5, "volume": 0.5, "load": 0.5},
    STOLEN: {"new place": 4, "cost": 2, "volume": 1.5, "attacks": 0.5, "cohort": -1},
    PROMPTS: {"attacks": 4, "leak": 1.5, "trigger": 0.5, "parameters": 0.5},
    BLIND: {"blind": 4, "thinned": 3, "silent": 4, "format": 3, "dead letters": 3, "logging off": 2.5},
}
_TOGETHER = (
    (CODE, ("slower", _CONNECTION), 1.5),
    (LOAD, ("load", "slower"), 1.5),
    (PLUGIN, ("tool_list", _CONNECTION), 1.5),
    (STOLEN, ("new place", "cost"), 1.0),
    (WEIGHTS, ("weights", UNAPPROVED), 1.0),
)
"""Signs that say more together than each alone."""


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """One sign: what it is, which finding gave it, and the sentence with the numbers that a person reads."""

    name: str
    finding_id: str
    said: str


def rank(cited: Sequence[Cited]) -> tuple[Cause, ...]:
    """The causes that have points, the likeliest first, and `UNKNOWN` among them."""
    given: dict[str, Sign] = {}
    for sign in signs(cited):
        given.setdefault(sign.name, sign)
    scored = [(name, _points(name, given)) for name in _POINTS]
    scored = [(name, points) for name, points in scored if points > 0.0]
    scored.append((UNKNOWN, _UNKNOWN_POINTS))
    total = sum(points for _, points in scored)
    order = sorted(scored, key=lambda each: (-each[1], each[0] != UNKNOWN, each[0]))
    return tuple(_cause(name, points, points / total, given) for name, points in order)


def signs(cited: Iterable[Cited]) -> Iterator[Sign]:
    """All signs of the findings; those that follow from several of them come last."""
    names = set()
    last: Cited | None = None
    for finding in cited:
        for name, said in _signs_of(finding):
            names.add(name)
            if name in {"behavior", "known prompts"}:
                last = finding
            yield Sign(name=name, finding_id=finding.finding_id, said=f"{finding.detector}: {said}")
    if last is not None and not names & {*COMPONENTS, UNAPPROVED, APPROVED, "another model than promised"}:
        said = f"{last.detector}: the answers changed and no component is known to have"
        yield Sign(name=_SILENT_SHIFT, finding_id=last.finding_id, said=said)


def _signs_of(finding: Cited) -> Iterator[tuple[str, str]]:
    simple = _SIGN_OF.get(finding.detector)
    if simple is not None:
        yield simple, _numbers(finding)
    if finding.detector in _CHANGES or simple in COMPONENTS:
        for row in finding.evidence:
            if row.name in COMPONENTS:
                said = f"{row.name} is {row.observed}, was {row.expected or 'not known'}"
                yield row.name, said
                yield _ANY, said
                if row.name != SERVED:
                    yield _OWN, said
    elif finding.detector == "latency_shift":
        step = next((row.observed for row in finding.evidence if row.name == "step"), 0.0)
        yield "faster" if isinstance(step, float) and step < 0.0 else "slower", _numbers(finding, 2)
    elif finding.detector == "egress":
        where = next((row.observed for row in finding.evidence if row.name == "where"), "")
        yield _HOSTS.get(str(where), _ANSWER), _numbers(finding)


def _numbers(finding: Cited, most: int = 1) -> str:
    """The finding's first facts with their numbers, or its summary where it has none."""
    return ", ".join(map(fact, finding.evidence[:most])) or finding.summary


def fact(row: Evidence) -> str:
    """One fact as a person reads it."""
    unit = f" {row.unit}" if row.unit else ""
    before = "" if row.expected is None else f" (expected {_value(row.expected)})"
    return f"{row.name} {_value(row.observed)}{unit}{before}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _points(name: str, given: Mapping[str, Sign]) -> float:
    table = _POINTS[name]
    points = sum(table[sign] for sign in given if sign in table)
    return points + sum(more for cause, needed, more in _TOGETHER if cause == name and all(map(given.get, needed)))


def _cause(name: str, points: float, share: float, given: Mapping[str, Sign]) -> Cause:
    table = _POINTS.get(name, {})
    speaking = [(table[sign], each) for sign, each in given.items() if sign in table]
    speaking.sort(key=lambda each: -abs(each[0]))
    supports = [each for weight, each in speaking if weight > 0.0]
    against = [each for weight, each in speaking if weight < 0.0]
    return Cause(
        name=name,
        title=TITLES[name],
        points=round(points, 2),
        share=round(share, 3),
        supports=tuple(dict.fromkeys(each.said for each in supports))[:_MOST_SAID],
        contradicts=tuple(dict.fromkeys(each.said for each in against))[:_MOST_SAID],
        finding_ids=tuple(dict.fromkeys(each.finding_id for each in supports))[:_MOST_SAID],
    )
