"""Tabular inputs of a classic model against a frozen baseline: notices that other rows are asked about.

Two tests run over blocks of rows: `novelty` (rows lie farther from the baseline, or nearer, than its own rows do:
broken relations between columns, new categories, other spreads) and `mean_shift` (many columns move a little).
Rows that follow one another closely in value count for less; a baseline of such rows is spread over up to eight
times as many. After a finding a new baseline is learned, since inputs that changed mostly stay so.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.crowd import Crowd
from detectors.mean_shift import BLOCK, Array, MeanShift, freeze
from detectors.novelty import Novelty, clustering, novelty
from detectors.rate_shift import Rate, Rates, Shifted
from detectors.row_sample import ROWS, RowSample
from detectors.tabular import MAX_COLUMNS, MAX_NUMBER, Value
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_BATCH = 2 * BLOCK
"""Rows judged together: what is done once a batch costs more than the rows themselves."""

_MAX_STRIDE = 8
_DEPENDENT = 1.5
"""Rows of a cluster that count as one, above which a baseline has not seen enough: it is spread over more."""

_MAX_CATEGORIES = 32
"""Categories of a column that are told apart; the others are one."""

_LEAST_WIDTH = 5
"""Columns that `mean_shift` needs; there are zeros where there are fewer."""

_TESTS = 3
_SCHEMA_ROWS = 400
_OTHERS_FIRST = 50
"""Rows of other columns in excess of the baseline's own that start an unfinished baseline anew."""

_SHOWN = 3
_COLUMNS_CHANGED = "share of rows with other columns"
_LEAST_LIMIT = math.log(alarms.MIN_ARL)


class Tests(msgspec.Struct, kw_only=True):
    """The frozen baseline: what each category is worth, and the two tests."""

    surprises: dict[int, dict[int, float]]
    novelty: Novelty
    shift: MeanShift


class FeatureDrift(Detector, kw_only=True):
    """See the module. Up to 60 KB at 32 columns."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Tabular inputs drifted",
        scope=DEPLOYMENT,
        severity=Severity.MEDIUM,
        sees="A lasting change of the distribution of a classic model's tabular inputs: columns that move, relations "
        "between columns that break, new categories, missing values, other columns",
        requires=("features",),
        warm_up=ROWS,
        score_unit="log evidence for a change against log of the rows allowed between false alarms",
        atlas=("AML.T0043", "AML.T0031", "AML.T0020"),
        owasp=("LLM04:2025",),
        causes=(
            "A feature pipeline broke or was changed: a unit, an encoding, a default for missing values.",
            "The population that is asked about changed: a market, a season, a new client application.",
            "Somebody searches the input space: crafted rows, a sweep for extraction or evasion.",
            "Rows are replayed or generated: they lie closer together than real ones.",
        ),
        false_positives=(
            "Inputs that swing with the hour, where the baseline is less than a day old; such findings are low.",
            "A new application with rows of its own on the same deployment.",
        ),
        known_gaps=(
            "What changes only between inputs and the right answer is not visible in inputs.",
            "Columns after the 32nd by name, and categories of a column after its 32nd, are one.",
            "Rows whose columns differ from the baseline's are counted and not looked at.",
            "What was wrong during the warm-up, or follows a finding, is part of the baseline.",
            "Columns are named by their place in the order of names: observations hold no text.",
        ),
        runbook=(
            "Compare rows before and after the onset in the columns that the evidence names.",
            "Look for a deployment of the feature pipeline or a schema change at the onset.",
            "Group the rows since the onset by principal: one sender points at a sweep or a broken client.",
            "Check label_shift and confidence_shift: if they are quiet, the model may cope.",
            "If the change is real and lasting, evaluate the model on labelled recent rows.",
        ),
        references=(
            "Lukats et al., A benchmark and survey of fully unsupervised concept drift detectors (2024)",
            "Vovk, Gammerman, Shafer, Algorithmic learning in a random world (2005)",
            "Shin, Ramdas, Rinaldo, E-detectors (2023)",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    now_s: float = 0.0
    crowd: Crowd = msgspec.field(default_factory=Crowd)
    schema: int | None = None
    width: int = 0
    balance: int = 0
    schemas: Rates = msgspec.field(default_factory=lambda: Rates(warm_up=_SCHEMA_ROWS, rates=[Rate(falls=False)]))
    rows: list[tuple[Value, ...]] = msgspec.field(default_factory=list)
    block_s: float = 0.0
    begun_s: float = 0.0
    categories: dict[int, dict[int, int]] = msgspec.field(default_factory=dict)
    sample: RowSample = msgspec.field(default_factory=RowSample)
    tests: Tests | None = None

    def update(self, observation: Observation) -> Detection | None:
        """Learn one row; evidence is weighed when it completes a block."""
        row = observation.features
        if row is None or not 0 < len(row) <= MAX_COLUMNS or not _finite(row):
            return None
        if 0.0 <= observation.time_s <= MAX_TIME_S:
            self.now_s = observation.time_s
        self.pace.see(self.now_s)
        if not self.crowd.admits(observation.principal):
            return None
        detection, usable = self._columns(observation.features_schema or 0, len(row))
        if not usable:
            return detection
        if not self.rows:
            self.block_s = self.now_s
        self.rows.append(row)
        if len(self.rows) < _BATCH:
            return None
        block, self.rows = self.rows, []
        if self.tests is not None:
            return self._judge(self.tests, block)
        self._learn(block)
        return None

    def _columns(self, schema: int, width: int) -> tuple[Detection | None, bool]:
        """Whether a row has the columns of the baseline; a detection where most suddenly have others."""
        if self.schema is None:
            self._begin(schema, width)
        other = schema != self.schema or width != self.width
        changed = self.schemas.see((0,) if other else (), self.now_s, self.share / _TESTS, self.pace)
        if changed is not None:
            self._begin(schema, width)
            return _columns_changed(changed), False
        if not other:
            self.balance += self.balance < ROWS
            return None, True
        self.balance -= 1
        if self.tests is None and self.balance < -_OTHERS_FIRST:
            self._begin(schema, width)
        return None, False

    def _begin(self, schema: int, width: int) -> None:
        """Start a new baseline on rows of `schema`."""
        self.schema, self.width, self.balance = schema, width, 0
        self.schemas = Rates(warm_up=_SCHEMA_ROWS, rates=[Rate(falls=False)])
        self.rows, self.categories = [], {}
        self.begun_s = self.now_s
        self.sample, self.tests = RowSample(), None

    def _learn(self, block: list[tuple[Value, ...]]) -> None:
        """Add a block to the baseline; freeze it when it is whole and its rows are independent enough."""
        for row in block:
            for column, value in enumerate(row):
                if isinstance(value, int):
                    codes = self.categories.setdefault(column, {})
                    if value not in codes and len(codes) < _MAX_CATEGORIES:
                        codes[value] = len(codes)
        self.sample.add(_table(block, self.categories, float(_MAX_CATEGORIES)))
        if self.sample.full:
            self._freeze()

    def _freeze(self) -> None:
        table = self.sample.table()
        surprises = {}
        for column, codes in self.categories.items():
            cells = np.rint(table[:, column])
            surprises[column] = {each: _surprise(int(np.count_nonzero(cells == code))) for each, code in codes.items()}
            worth = np.array([*surprises[column].values(), _surprise(0)])
            known = np.isfinite(cells)
            table[known, column] = worth[np.clip(cells[known], 0, len(codes)).astype(int)]
        far = novelty(table)
        padded = _padded(far.distance.standardised(table))
        reference = freeze(padded)
        dependence = clustering(reference.whitened(padded))
        if dependence.max() > _DEPENDENT and self.sample.stride < _MAX_STRIDE:
            self.sample.thin()
            return
        # Of the rows between two of the sample nothing is known: they may all be alike.
        stride = self.sample.stride
        reference = msgspec.structs.replace(reference, unit=reference.unit * np.sqrt(dependence * stride))
        for rate in far.rates:
            for walk in rate.up + rate.down:
                walk.hit /= stride
                walk.miss /= stride
        self.tests = Tests(surprises=surprises, novelty=far, shift=MeanShift(reference=reference))
        self.sample, self.categories = RowSample(), {}

    def _judge(self, tests: Tests, block: list[tuple[Value, ...]]) -> Detection | None:
        table = _table(block, tests.surprises, _surprise(0))
        rows = tests.novelty.distance.standardised(table)
        far = tests.novelty.update(rows, self.block_s)
        padded = _padded(rows)
        moved = tests.shift.update(padded, (self.block_s, self.block_s))
        if max(far, moved) < _LEAST_LIMIT:
            return None
        arl = alarms.bonferroni(alarms.average_run_length(self.share, self.pace.per_day), _TESTS)
        far_limit = alarms.e_limit(alarms.bonferroni(arl, tests.novelty.streams))
        moved_limit = alarms.e_limit(arl)
        if far < far_limit and moved < moved_limit:
            return None
        by_distance = far - far_limit >= moved - moved_limit
        score, threshold = (far, far_limit) if by_distance else (moved, moved_limit)
        found = _detection(tests, score, threshold, self.now_s - self.begun_s, by_distance=by_distance)
        self._begin(self.schema or 0, self.width)
        return found


def _finite(row: tuple[Value, ...]) -> bool:
    """Whether the known values are numbers."""
    try:
        return math.isfinite(sum(row))  # type: ignore[arg-type]  # what is unknown is asked for below
    except TypeError:
        return all(value is None or math.isfinite(value) for value in row)


def _columns_changed(changed: Shifted) -> Detection:
    row = Evidence(name=_COLUMNS_CHANGED, observed=100.0 * changed.now, expected=100.0 * changed.before, unit="%")
    return Detection(
        summary=f"The inputs have other columns: {changed.now:.0%} of the last {changed.calls} rows differ in the "
        f"names of their columns from the baseline, before {changed.before:.1%}.",
        severity=Severity.MEDIUM,
        score=changed.score,
        threshold=changed.threshold,
        onset_s=changed.since_s,
        evidence=(row,),
    )


def _surprise(count: int) -> float:
    """What a category that made up `count` rows of a baseline is worth as a number."""
    return math.log((ROWS + 1.0) / (count + 0.5))


def _table(
    block: list[tuple[Value, ...]], worth: Mapping[int, Mapping[int, int] | Mapping[int, float]], rare: float
) -> Array:
    """(rows, width + 1): numbers as they are, categories as their `worth`, NaN for unknown, whose share comes last."""
    width = len(block[0])
    table: Array = np.zeros((len(block), width + 1))
    values = table[:, :width]
    values[:] = _numbers(block)
    for column, known in worth.items():
        cells = [row[column] for row in block]
        values[:, column] = [
            math.nan if cell is None else known.get(cell, rare) if isinstance(cell, int) else rare for cell in cells
        ]
    told = np.abs(values) <= MAX_NUMBER
    if not told.all():
        values[~told] = math.nan
        table[:, width] = (~told).sum(axis=1) / width
    return table


def _numbers(block: list[tuple[Value, ...]]) -> Array:
    """The rows as they are, NaN for what is missing: packed, which is four times as fast as converted."""
    flat = list(itertools.chain.from_iterable(block))
    try:
        return np.frombuffer(struct.pack(f"{len(flat)}d", *flat)).reshape(len(block), -1)
    except struct.error:
        return np.array(block, dtype=float)


def _padded(standard: Array) -> Array:
    """What `mean_shift` takes: at least `_LEAST_WIDTH` standardised columns, and a covariate that is always 0."""
    rows, width = standard.shape
    padded = np.zeros((rows, max(width, _LEAST_WIDTH) + 1))
    padded[:, :width] = standard
    return padded


def _detection(tests: Tests, score: float, threshold: float, held_s: float, *, by_distance: bool) -> Detection:
    shift = tests.shift.shift()
    far = tests.novelty
    walks = [(walk.level, index, walk) for index, rate in enumerate(far.rates) for walk in rate.up + rate.down]
    _, index, walk = max(walks, key=lambda each: each[0])
    width = len(far.distance.center)
    names = [f"column {column + 1} by name" for column in range(width - 1)] + ["share of missing values"]
    order = np.argsort(-np.abs(shift.deviations[:width]))[:_SHOWN].tolist()
    center, scale = far.distance.center, far.distance.scale
    facts = [
        Evidence(
            name=f"{names[column]}, typical",
            observed=float(f"{center[column] + scale[column] * shift.observed[column]:.4g}"),
            expected=float(f"{center[column] + scale[column] * shift.expected[column]:.4g}"),
            unit=f"its own unit ({float(shift.deviations[column]):+.1f} baseline sd)",
        )
        for column in order
    ]
    rate = far.rates[index]
    where = "nearer the middle of the baseline than a tenth of it" if index == 0 else "farther out"
    if walk.seen and walk.level > 0.0:
        rank = "" if index == 0 else f" than {(0.0, 0.5, 0.9, 0.98)[index]:.0%} of the baseline"
        facts.append(
            Evidence(
                name=f"rows that lie {where}{rank}",
                observed=round(100.0 * walk.hits / walk.seen, 2),
                expected=round(100.0 * rate.before, 2),
                unit="%",
            )
        )
    rows = walk.seen if by_distance else shift.rows
    facts.append(Evidence(name="rows since the onset", observed=float(rows), unit="rows"))
    facts.append(Evidence(name="time since the baseline began", observed=round(held_s), unit="s"))
    what = "rows lie elsewhere than the baseline's" if by_distance else "columns moved together"
    return Detection(
        summary=f"The tabular inputs drifted: {what}, most of all {names[order[0]]} "
        f"({facts[0].observed} instead of {facts[0].expected}); {rows} rows against a baseline of {ROWS}.",
        severity=Severity.MEDIUM if held_s >= alarms.DAY_S else Severity.LOW,
        score=score,
        threshold=threshold,
        onset_s=walk.since_s if by_distance else shift.start_s,
        evidence=tuple(facts),
    )
