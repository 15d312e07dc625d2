"""Sets of findings with the cause a responder would name, written down before: as the catalog's detectors word them.

Each set is what one incident's part of the traffic gave; findings about callers come with the deployment's own where
both would speak.
"""

from __future__ import annotations

import msgspec

from detectors.types import Finding, Severity
from streams.cases import causes
from tests.findings import changed, found

CALLER = "p_4f1c"


def drift(at_s: float = 60.0) -> Finding:
    return found("output_drift", at_s, ("characters", 812.0, 430.0), ("size of the shift", 1.9, 0.0))


def asked(at_s: float = 90.0) -> Finding:
    rows = (("similarity to stored answers", 0.41, 0.93), ("answered differently", 9.0, 2.0))
    return found("canary", at_s, *rows, severity=Severity.HIGH)


def refusals(now: float, before: float, at_s: float = 80.0) -> Finding:
    return found("refusal_shift", at_s, ("rate of refusals", now, before), ("outputs since onset", 120.0))


def late(at_s: float = 45.0, step: float = 40.0) -> Finding:
    rows = (("time to first token", 0.28, 0.2), ("step", step, 0.0), ("calls since onset", 64.0))
    return found("latency_shift", at_s, *rows, severity=Severity.MEDIUM if step > 0.0 else Severity.LOW)


def tail(at_s: float = 50.0) -> Finding:
    return found("tail_latency", at_s, ("slow calls", 4.1, 0.9), ("longer by", 1.4, 0.0))


def failing(at_s: float = 55.0) -> Finding:
    return found("error_shift", at_s, ("rate of failed calls", 6.0, 0.5), ("calls since onset", 90.0))


def host(where: str, at_s: float = 70.0) -> Finding:
    severity = Severity.LOW if where == "answer" else Severity.HIGH if where == "connection" else Severity.MEDIUM
    rows = (("new hosts", "drop[.]example"), ("where", where), ("known hosts", 4.0))
    return found("egress", at_s, *rows, severity=severity)


def load(at_s: float = 20.0, factor: float = 4.2) -> Finding:
    rows = (("calls in five minutes", 900.0, 210.0), ("factor", factor, 1.0), ("view", "recent past"))
    return found("load_anomaly", at_s, *rows, severity=Severity.MEDIUM if factor >= 3.0 else Severity.LOW)


def leak(kind: str = "an access token", at_s: float = 75.0) -> Finding:
    return found("leakage", at_s, ("kind", kind), ("answers before", 2_100.0), severity=Severity.HIGH)


def trigger(at_s: float = 85.0, outcome: str = "refusals") -> Finding:
    rows = (("word", "9f31a2c0"), ("other words alike", "none"), ("outcome", outcome), ("callers", 4.0))
    return found("backdoor_trigger", at_s, *rows, severity=Severity.HIGH)


def inputs(at_s: float = 30.0) -> Finding:
    return found("feature_drift", at_s, ("amount, typical", 310.0, 80.0), ("rows since the onset", 200.0))


def labels(at_s: float = 40.0) -> Finding:
    return found("label_shift", at_s, ("share of 'fraud'", 12.0, 2.0), ("predictions since onset", 300.0))


def unsure(at_s: float = 42.0) -> Finding:
    return found("confidence_shift", at_s, ("mean score", 61.0, 88.0), ("predictions since onset", 300.0))


def unapproved(component: str, at_s: float = 1.0, now: str = "sha256:bb") -> Finding:
    return changed(component, now, "sha256:aa", at_s, "unapproved_change")


def approved(component: str, at_s: float = 0.0, now: str = "sha256:bb") -> Finding:
    rows = ((component, now, "sha256:aa"), ("approved as", "CHG-7"))
    return found("approved_change", at_s, *rows, severity=Severity.INFO)


def guardrail_off(at_s: float = 0.0) -> Finding:
    rows = (
        ("calls with a guardrail", 0.0, 99.0),
        ("calls without one since the onset", 40.0),
        ("guardrail", "off", "v3"),
    )
    return found("guardrail_off", at_s, *rows, severity=Severity.HIGH)


def rug_pull(at_s: float = 0.0) -> Finding:
    rows = (("tool_list", "sha256:bb", "sha256:aa"), ("tools changed", "'search_files'"))
    return found("tool_list_changed", at_s, *rows, severity=Severity.HIGH)


def served(at_s: float = 5.0) -> Finding:
    return changed("served_model", "m-2026-11", "m-2026-05", at_s)


def by(caller: str, detector: str, at_s: float, *rows: tuple[str, float] | tuple[str, float, float]) -> Finding:
    return found(detector, at_s, *rows, scope="principal", subject=caller, severity=Severity.HIGH)


def volume(at_s: float = 95.0, caller: str = CALLER) -> Finding:
    return by(caller, "token_volume", at_s, ("tokens in this hour", 91_000.0, 4_000.0), ("limit", 60_000.0))


def place(at_s: float = 10.0, *, mixed: float = 3.0, client: float = 5.1) -> Finding:
    rows = (("new place", 5.2, 0.0), ("new client", client, 0.0), ("unusual hour", 1.1, 0.0))
    return by(CALLER, "new_context", at_s, *rows, ("usual client in between", mixed, 0.0))


def sweep(at_s: float = 15.0, caller: str = CALLER) -> Finding:
    return by(caller, "extraction", at_s, ("new prompts of one kind", 240.0), ("calls in the run", 260.0))


def cohort(at_s: float = 400.0, size: int = 300) -> Finding:
    members = " ".join(f"p_{each}" for each in range(20))
    rows = (("accounts", float(size)), ("members", members), ("shared", "volumes and prompts of one kind"))
    return found("coordinated_extraction", at_s, *rows, scope="cohort", subject="cohort:1", severity=Severity.HIGH)


def attacks(at_s: float = 12.0) -> Finding:
    return by(CALLER, "probing", at_s, ("prompts that read like attacks", 31.0), ("refusals", 28.0))


def probes(at_s: float = 14.0) -> Finding:
    return by(CALLER, "parameter_probing", at_s, ("probing calls", 120.0, 0.0), ("calls under logit bias", 118.0, 0.0))


def costly(at_s: float = 13.0) -> Finding:
    return by(CALLER, "cost_harvesting", at_s, ("now", 9.1, 1.2), ("times its past", 7.6, 1.0))


def late_answer(kind: str) -> Finding:
    return leak(kind, 200.0)


SETS: dict[str, tuple[str, list[Finding]]] = {
    # A supply chain.
    "new packages, then a host nobody knows": (causes.CODE, [unapproved("package_set"), host("connection")]),
    "new packages and a host in tool calls": (causes.CODE, [unapproved("package_set"), host("tool")]),
    "an image that is slower and calls home": (causes.CODE, [unapproved("image"), late(), host("connection")]),
    "a tampered server without digests": (causes.CODE, [late(), tail(), host("connection")]),
    "a new image and nothing else": (causes.CODE, [unapproved("image")]),
    "a host of the serving side and nothing else": (causes.CODE, [host("connection")]),
    "packages and image together, errors too": (
        causes.CODE,
        [unapproved("package_set"), unapproved("image", 2.0), failing()],
    ),
    "the guardrail is off and more gets through": (
        causes.CODE,
        [guardrail_off(), refusals(1.0, 9.0), leak(at_s=300.0)],
    ),
    "another guardrail, then fewer refusals": (causes.CODE, [unapproved("guardrail"), refusals(1.0, 9.0)]),
    # Weights, adapter, template, tokenizer.
    "weights that nobody approved and other answers": (causes.WEIGHTS, [unapproved("weights"), asked(), drift()]),
    "weights alone": (causes.WEIGHTS, [unapproved("weights")]),
    "a trigger word and no digests": (causes.WEIGHTS, [trigger()]),
    "a trigger word beside drift": (causes.WEIGHTS, [unapproved("weights"), trigger(), refusals(9.0, 2.0)]),
    "a pickle among the weights, then a trigger": (
        causes.WEIGHTS,
        [found("unsafe_artifact", 0.0, ("unsafe pickle", "unsafe_pickle:model.bin")), trigger()],
    ),
    "an adapter with a trigger": (causes.ADAPTER, [unapproved("adapter"), trigger()]),
    "the tokenizer and nothing else": (causes.ADAPTER, [unapproved("tokenizer")]),
    "the tokenizer and broken answers": (
        causes.ADAPTER,
        [unapproved("tokenizer"), drift(), found("repetition_loop", 70.0, ("degenerate answers", 4.0, 0.1))],
    ),
    "a template, other answers, known prompts too": (causes.ADAPTER, [unapproved("prompt_template"), drift(), asked()]),
    # Plugins and retrieval.
    "a tool's description changed, then egress": (
        causes.PLUGIN,
        [rug_pull(), host("connection")],
    ),
    "a rug pull that sends data through links": (
        causes.PLUGIN,
        [rug_pull(), leak("a link whose address carries data")],
    ),
    "a tool server alone that names a new host": (causes.PLUGIN, [host("tool")]),
    "a tool list of another digest": (causes.PLUGIN, [rug_pull(), late()]),
    "an index and answers that name a new host": (causes.INDEX, [unapproved("retrieval_index"), host("answer")]),
    "an index and other answers": (causes.INDEX, [unapproved("retrieval_index"), drift()]),
    "an index that plants images": (
        causes.INDEX,
        [unapproved("retrieval_index"), leak("an image whose address carries data"), host("answer")],
    ),
    # Providers.
    "a model behind an alias that moved": (causes.PROVIDER, [served(), asked()]),
    "known prompts are answered otherwise": (causes.PROVIDER, [asked()]),
    "drift, and nothing of ours changed": (causes.PROVIDER, [drift()]),
    "drift and faster": (causes.PROVIDER, [drift(), late(step=-30.0)]),
    "drift, more refusals, slower": (causes.PROVIDER, [drift(), refusals(9.0, 2.0), late()]),
    "a model that is not the promised one": (
        causes.PROVIDER,
        [found("served_model_mismatch", 0.0, ("served_model", "mini", "large"), ("asked for", "large")), drift()],
    ),
    "a classic model's labels and scores": (causes.PROVIDER, [labels(), unsure()]),
    # Updates.
    "an approved update": (causes.UPDATE, [approved("weights"), drift(), asked(), late()]),
    "an approved update that the provider names otherwise": (causes.UPDATE, [approved("weights"), served(), drift()]),
    "an approved image that is slower at first": (causes.UPDATE, [approved("image"), late(), failing()]),
    "a new deployment that nobody wrote down": (
        causes.UPDATE,
        [changed("weights", "b", "a"), changed("tokenizer", "b", "a"), changed("image", "b", "a"), drift()],
    ),
    "an approved image, then packages nobody approved": (
        causes.CODE,
        [approved("image"), unapproved("package_set", 60.0), host("connection", 90.0)],
    ),
    "approved weights, then a tool list nobody approved": (
        causes.PLUGIN,
        [approved("weights"), drift(), rug_pull(600.0)],
    ),
    "an approved adapter with a trigger in it": (causes.ADAPTER, [approved("adapter"), trigger(), drift()]),
    "an approved image that calls a new host": (causes.CODE, [approved("image"), late(), host("connection")]),
    # Load and mix.
    "a day of marketing": (causes.LOAD, [load(), late(), tail()]),
    "a burst that ends in errors": (causes.LOAD, [load(), failing()]),
    "twice as many calls, and slower": (causes.LOAD, [load(factor=2.2), late()]),
    "a burst with longer answers": (causes.LOAD, [load(), late(), drift()]),
    "slower with errors": (causes.LOAD, [late(), failing()]),
    "an attacker whose prompts are of one kind": (causes.PROMPTS, [attacks(), sweep()]),
    "a burst and nothing else": (causes.LOAD, [load()]),
    "another mix of a classic model's inputs": (causes.MIX, [inputs(), labels(), unsure()]),
    "new inputs and nothing else": (causes.MIX, [inputs()]),
    "new inputs and more calls": (causes.MIX, [inputs(), load(), labels()]),
    # Callers.
    "a stolen key": (causes.STOLEN, [place(), volume()]),
    "a key used by two at once": (causes.STOLEN, [place()]),
    "a stolen key that burns money": (causes.STOLEN, [place(mixed=0.0), costly()]),
    "a key from a new place with more tokens": (causes.STOLEN, [place(mixed=0.0), volume()]),
    "a journey with the usual client": (causes.UNKNOWN, [place(mixed=0.0, client=0.0)]),
    "one account that sweeps": (causes.EXTRACTION, [sweep(), volume()]),
    "one account that asks for log-probabilities": (causes.EXTRACTION, [probes()]),
    "three hundred accounts": (causes.EXTRACTION, [*(sweep(each, f"p_{each}") for each in range(3)), cohort()]),
    "three hundred accounts that are also load": (causes.EXTRACTION, [cohort(), volume(410.0, "p_1")]),
    "an attacker with prompts": (causes.PROMPTS, [attacks()]),
    "an attacker who measures too": (causes.PROMPTS, [attacks(), probes()]),
    # The watch, and nothing that can be said.
    "fields that no longer come": (causes.BLIND, [found("source_blind", 0.0, ("calls with texts", 0.0, 99.0))]),
    "a source that stopped": (causes.BLIND, [found("pipeline.source_silent", 0.0, ("pause", 9_000.0, 60.0))]),
    "logs that were switched off": (causes.BLIND, [found("logging_off"), found("source_thinned", 60.0)]),
    "slower and nothing else": (causes.UNKNOWN, [late()]),
    "a few calls fewer": (causes.UNKNOWN, [load(factor=0.3)]),
    "more tokens of one caller": (causes.UNKNOWN, [volume()]),
    "an answer that held a token": (causes.UNKNOWN, [leak()]),
}

NOISE = {
    "slow calls": tail(500.0),
    "errors": failing(510.0),
    "faster": late(520.0, step=-20.0),
    "a host in an answer": host("answer", 530.0),
    "a busy hour": load(540.0, factor=2.2),
    "a token in an answer": leak(at_s=550.0),
    "fewer refusals": refusals(1.0, 3.0, 560.0),
}
"""Findings of another kind that are false or have nothing to do with it, such as any week brings."""


def copied(findings: list[Finding]) -> list[Finding]:
    """The same with identities of their own."""
    return [msgspec.structs.replace(each, finding_id=f"{number:04x}") for number, each in enumerate(findings)]
