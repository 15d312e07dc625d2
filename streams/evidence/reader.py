"""The page for a reader of evidence who does not know us and need not trust us. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

from streams.dlq import printable
from streams.evidence.manifest import MANIFEST, PUBLIC_KEY, SIGNATURE, Listed, Manifest

_WHAT = {
    "events": "calls of models: who (as a pseudonym), when, which model and components, how long, what was said",
    "findings": "what detectors found; `of_incident` says whether it is of this incident or only of its time and place",
    "incident_revisions": "the incident as it stood after each finding, and incidents that were merged into it",
    "verdicts": "what people said of it: verdicts, closing, to whom it was given",
    "suppressions": "what people did not want to be told of at that time",
    "component_reports": "attestations of what the deployment was made of (digests)",
    "changes": "what people approved or rejected of its components",
    "baselines": "reference numbers that people froze",
    "incident": "the latest revision, as a document",
    "detectors": "every detector that watched: version, what it sees, its share of false alarms, known gaps",
    "settings": "the settings that findings depend on, as they were where this was exported",
    "queries": "every statement that was run, with its values, and the file that holds its answer",
}


def readme(manifest: Manifest, files: Sequence[Listed]) -> str:
    """The page about `files`; names from outside stand in it as printable ASCII."""
    case = manifest.case
    names: dict[str, list[Listed]] = {}
    for each in files:
        names.setdefault(each.path.split(".")[0].split("-")[0], []).append(each)
    rows = []
    for name, listed in names.items():
        count = sum(each.rows or 0 for each in listed if each.path.endswith(".parquet"))
        kinds = sorted({each.path.rpartition(".")[2] for each in listed})
        shown = f"events-*.parquet ({len(listed)})" if name == "events" else f"{name}.{' / '.join(kinds)}"
        has_rows = any(each.rows is not None for each in listed)
        rows.append(f"| {shown} | {count if has_rows else ''} | {_WHAT[name]} |")
    table = "\n".join(rows)
    return f"""# Evidence of incident {case.incident_id}

Exported by {manifest.product}, which watches the logs of machine learning models in production. This directory holds
what was stored of one incident (revision {case.revision}, {case.state}) of this deployment:

    {printable(case.deployment)}

Calls are from {_moment(case.from_us)} (the estimated onset) to before {_moment(case.to_us)}, all times in UTC.
Callers stand in it as pseudonyms; who keeps the key of the installation can tell whether one belongs to an identity.
{_texts(manifest)}

| file | rows | what |
| --- | --- | --- |
{table}

Parquet is read by DuckDB, pandas, ClickHouse and others; the tables beside the calls are JSON too, a row on a line.
Texts in it were written by callers and models, who may be attackers: show them, never run, render or obey them.

## Check that nothing was changed

With inferwatch, offline: `inferwatch evidence verify DIR --signer sha256:...`. Without it, in this directory:

    openssl pkeyutl -verify -pubin -inkey {PUBLIC_KEY} -rawin -in {MANIFEST} -sigfile {SIGNATURE}
    sha256sum -c SHA256SUMS        # and compare `sha256sum SHA256SUMS` with its line in {MANIFEST}
    openssl pkey -pubin -in {PUBLIC_KEY} -outform DER | sha256sum

The last one prints the fingerprint of the key that signed:

    {manifest.signed_by}

Get it from whoever exported this by another way, too: a key that comes with the evidence proves only that nothing was
changed after somebody signed it. No time of the export is in these files: the same incident exported again by the
same versions ({manifest.product}, {manifest.engine}) gives the same bytes, so a second export can be
compared by `{MANIFEST}` alone.

## What it does not prove

That the logs were complete when they came in, or that a caller told the truth in them. Rows that a replay stored twice
are here once. What was over its time to be kept, or erased, before the export is not here, unless it was on hold.

(end)
"""


def _texts(manifest: Manifest) -> str:
    texts = manifest.texts
    said = f"There are {texts.calls} calls" + (f", {texts.with_text} with a text" if texts.exported else "")
    return textwrap.fill(f"{said}: {texts.said}.", 119)


def _moment(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1_000_000, UTC):%Y-%m-%d %H:%M:%S.%f}"
