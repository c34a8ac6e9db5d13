"""The runs of a sweep in one place: each with its interval, each variant over its seeds, and its difference to the base.

In: the runs of a `Sweep`, those that are finished. Out: a `Results`, and its files: `table.md`, `table.csv`, `results.json`
and `variants.png`. All figures are of the test split, by the weights that validation chose.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.errors import DataError, UserError
from lfm_jax.evaluation import plots
from lfm_jax.evaluation.compare import compare_evaluations
from lfm_jax.evaluation.metrics import HEADLINE, METRICS
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.evaluation.tables import grouped, percent
from lfm_jax.training.sweep import FINISHED, SweepRun

CSV_COLUMNS = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high")  # of each of HEADLINE
TESTED = Path("test", "best")


@dataclass(frozen=True)
class Results:
    """`runs`: a row of each finished run. `variants`: a row of each variant that has any. `missing`: other runs, why by name.

    A run's `difference` is its metric less that of the base with the same seed, on the same images, with its interval and
    p as in `compare`; None for the base itself and where the two cannot be compared, which `incomparable` says.
    """

    base: str
    protocol: str
    runs: list[dict[str, Any]]
    variants: list[dict[str, Any]]
    missing: dict[str, str]
    incomparable: dict[str, str]


def collect(runs: Sequence[SweepRun], base: str) -> Results:
    """Runs -> Results of those that are finished. Raises UserError: none is, or the test split has one label only."""
    finished = [run for run in runs if run.is_finished]
    missing = {run.name: f"failed: {run.error}" if run.error else "not finished" for run in runs if not run.is_finished}
    if not finished:
        raise UserError("no run is finished: " + "; ".join(f"{name}: {why}" for name, why in missing.items()))
    bases = {run.seed: run for run in finished if run.variant == base}
    rows, incomparable = [], {}
    for run in finished:
        row = _run_row(run)
        if run.variant != base:
            try:
                row["difference"] = _difference(bases[run.seed], run) if run.seed in bases else None
            except DataError as error:
                incomparable[run.name] = str(error)
        rows.append(row)
    by_variant = grouped(rows, lambda row: (row["variant"],))
    variants = [_variant_row(name, members) for (name,), members in by_variant.items()]
    return Results(base, rows[0]["protocol"], rows, variants, missing, incomparable)


def _run_row(run: SweepRun) -> dict[str, Any]:
    results = json.loads((run.workdir / TESTED / "results.json").read_text())
    mean = _mean_row(results["rows"])
    if mean["ap"] is None:
        raise UserError(f"{run.name}: its test split has images of one label only, which define no AP")
    kept = {name: mean[name] for name in ("protocol", "n_real", "n_fake", *HEADLINE)}
    interval = {name: mean["interval"][name] for name in HEADLINE}
    step = results["cards"][0]["training"]["steps"]
    seconds = json.loads((run.workdir / FINISHED).read_text())["seconds"]
    names = {"run": run.name, "variant": run.variant, "seed": run.seed}
    return {**names, **kept, "interval": interval, "step": step, "seconds": seconds, "difference": None}


def _difference(base: SweepRun, run: SweepRun) -> dict[str, Any]:
    compared = compare_evaluations(*(read_evaluation(each.workdir / TESTED) for each in (base, run)))
    mean = _mean_row(compared.rows)
    return {name: {field: mean[name][field] for field in ("difference", "interval", "p")} for name in HEADLINE}


def _mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over all generators: of the one suite, or of several."""
    return next(row for level in ("overall", "suite") for row in rows if row["level"] == level)


def _variant_row(variant: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`difference` and its `deviation` are over the seeds; `clear`: seeds whose own interval leaves out 0, worse and better."""
    row: dict[str, Any] = {"variant": variant, "seeds": [each["seed"] for each in rows], "deviation": {}, "difference": {}}
    for name in HEADLINE:
        row[name], row["deviation"][name] = _mean_and_deviation([each[name] for each in rows])
        found = [each["difference"][name] for each in rows if each["difference"]]
        if found:
            mean, deviation = _mean_and_deviation([each["difference"] for each in found])
            ends = [each["interval"] for each in found if each["interval"]]
            clear = [sum(high < 0 for _, high in ends), sum(low > 0 for low, _ in ends)]
            row["difference"][name] = {"mean": mean, "deviation": deviation, "seeds": len(found), "clear": clear}
    return row


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The deviation is that of a sample, n - 1."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def write(results: Results, out: Path) -> None:
    """Results -> files in `out` (see the module's head)."""
    (out / "table.md").write_text(markdown(results) + "\n")
    (out / "results.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    with open(out / "table.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["variant", "seed", *(name + end for name in HEADLINE for end in CSV_COLUMNS), "step", "seconds"])
        for row in results.runs:
            cells = [cell for name in HEADLINE for cell in _csv(row, name)]
            writer.writerow([row["variant"], row["seed"], *cells, row["step"], row["seconds"]])
    plots.variants(results.runs, results.variants, results.base, results.protocol, out / "variants.png")


def _csv(row: dict[str, Any], name: str) -> list[float | None]:
    found = (row["difference"] or {}).get(name) or {"difference": None, "interval": None}
    return [row[name], *(row["interval"][name] or [None] * 2), found["difference"], *(found["interval"] or [None] * 2)]


def markdown(results: Results) -> str:
    """Two Markdown tables in percent: variants over their seeds, and every run with its 95 % interval; then what is missing."""
    titles = [METRICS[name]().heading for name in HEADLINE]
    heads = ["variant", "seeds", *titles, *(f"{cell} - {results.base}" for cell in titles), *(f"{cell} clear" for cell in titles)]
    lines = [
        [
            row["variant"],
            len(row["seeds"]),
            *(_spread(row[name], row["deviation"][name]) for name in HEADLINE),
            *(_change(row["difference"].get(name)) for name in HEADLINE),
            *(_clear(row["difference"].get(name)) for name in HEADLINE),
        ]
        for row in results.variants
    ]
    run_heads = ["run", *(f"{cell} [95 %]" for cell in titles), "step", "minutes"]
    run_lines = [
        [row["run"], *(_ends(row, name) for name in HEADLINE), row["step"], _minutes(row["seconds"])] for row in results.runs
    ]
    notes = [f"{name}: {why}" for name, why in (results.missing | results.incomparable).items()]
    parts = [f"test split, {results.protocol}, weights of the best validation; ± is the deviation over seeds"]
    return "\n\n".join([*parts, _table(heads, lines), _table(run_heads, run_lines), *(["\n".join(notes)] if notes else [])])


def _table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=["left"] + ["right"] * (len(heads) - 1))


def _spread(mean: float, deviation: float | None, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f}" + ("" if deviation is None else f" ± {percent(deviation)}")


def _change(found: dict[str, Any] | None) -> str:
    return "" if found is None else _spread(found["mean"], found["deviation"], "+")


def _clear(found: dict[str, Any] | None) -> str:
    """ "2 of 3 worse": seeds whose interval leaves out 0."""
    if found is None:
        return ""
    worse, better = found["clear"]
    words = [f"{count} {word}" for count, word in ((worse, "worse"), (better, "better")) if count]
    return f"{', '.join(words) or 'none'} of {found['seeds']}"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


def _ends(row: dict[str, Any], name: str) -> str:
    ends = row["interval"][name]
    return percent(row[name]) + ("" if ends is None else f" [{percent(ends[0])}, {percent(ends[1])}]")
