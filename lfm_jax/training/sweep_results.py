"""The results of a sweep in one place: every run with its intervals, every variant over its seeds, and its difference to the base.

All figures are of the test split, scored with the weights that validated best. They are written to `table.md`, `table.csv`,
`results.json` and `variants.png`.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.errors import DataError, UserError, first_line
from lfm_jax.evaluation import plots
from lfm_jax.evaluation.compare import compare_evaluations
from lfm_jax.evaluation.metrics import HEADLINE, METRICS
from lfm_jax.evaluation.saved import read_evaluation, read_results
from lfm_jax.evaluation.tables import grouped, percent
from lfm_jax.runtime.paths import write_whole
from lfm_jax.training.sweep import TESTED, SweepRun

CSV_COLUMNS = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high")  # of each of HEADLINE


@dataclass(frozen=True)
class Results:
    """What is known of a sweep.

    Attributes:
      base: name of the variant that the others are compared with.
      protocol: of the test.
      runs: a row per finished run. Its "difference" is its metrics minus those of the base with the same seed, on the same
        images, with interval and p as in `compare`; None for the base itself, and where the two cannot be compared.
      variants: a row per variant with a finished run.
      missing: why the other runs have no row, by name.
      incomparable: why a run could not be compared with the base, by name.
    """

    base: str
    protocol: str
    runs: list[dict[str, Any]]
    variants: list[dict[str, Any]]
    missing: dict[str, str]
    incomparable: dict[str, str]


def collect(runs: Sequence[SweepRun], base: str) -> Results:
    """Read the results of the runs that are finished.

    Raises:
      UserError: no run is finished, or the test split has images of one label only.
    """
    finished = [run for run in runs if run.is_finished]
    missing = {run.name: f"failed: {run.error}" if run.error else "not finished" for run in runs if not run.is_finished}
    if not finished:
        raise UserError("no run is finished: " + "; ".join(f"{name}: {reason}" for name, reason in missing.items()))
    bases = {run.seed: run for run in finished if run.variant == base}
    rows, incomparable = [], {}
    for run in finished:
        try:
            row = _run_row(run)
        except (KeyError, TypeError, ValueError, IndexError, StopIteration, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise DataError(f"{run.workdir / TESTED} is damaged ({first_line(error)}): delete it and run the sweep again") from None
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
    results = read_results(run.workdir / TESTED)
    mean = _mean_row(results["rows"])
    if mean["ap"] is None:
        raise UserError(f"{run.name}: its test split has images of one label only, for which there is no AP")
    return {
        "run": run.name,
        "variant": run.variant,
        "seed": run.seed,
        **{name: mean[name] for name in ("protocol", "n_real", "n_fake", *HEADLINE)},
        "interval": {name: mean["interval"][name] for name in HEADLINE},
        "step": results["cards"][0]["training"]["steps"],
        "seconds": run.seconds,
        "difference": None,
    }


def _difference(base: SweepRun, run: SweepRun) -> dict[str, Any]:
    comparison = compare_evaluations(*(read_evaluation(one.workdir / TESTED) for one in (base, run)))
    mean = _mean_row(comparison.rows)
    return {name: {field: mean[name][field] for field in ("difference", "interval", "p")} for name in HEADLINE}


def _mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean over all generators, whether there is one suite or several."""
    return next(row for level in ("overall", "suite") for row in rows if row["level"] == level)


def _variant_row(variant: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and deviations over the seeds. "clear" counts the seeds whose own interval excludes 0: worse, better."""
    row: dict[str, Any] = {"variant": variant, "seeds": [run["seed"] for run in rows], "deviation": {}, "difference": {}}
    for name in HEADLINE:
        row[name], row["deviation"][name] = _mean_and_deviation([run[name] for run in rows])
        differences = [run["difference"][name] for run in rows if run["difference"]]
        if differences:
            mean, deviation = _mean_and_deviation([difference["difference"] for difference in differences])
            intervals = [difference["interval"] for difference in differences if difference["interval"]]
            clear = [sum(high < 0 for _, high in intervals), sum(low > 0 for low, _ in intervals)]
            row["difference"][name] = {"mean": mean, "deviation": deviation, "seeds": len(differences), "clear": clear}
    return row


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The deviation is that of a sample, over n - 1; None of a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def write(results: Results, out: Path) -> None:
    """Write the table, the CSV, the JSON and the picture into the folder `out`."""
    write_whole(out / "table.md", (markdown(results) + "\n").encode())
    write_whole(out / "results.json", (json.dumps(asdict(results), indent=1) + "\n").encode())
    with open(out / "table.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["variant", "seed", *(name + end for name in HEADLINE for end in CSV_COLUMNS), "step", "seconds"])
        for row in results.runs:
            cells = [cell for name in HEADLINE for cell in _csv_cells(row, name)]
            writer.writerow([row["variant"], row["seed"], *cells, row["step"], row["seconds"]])
    plots.variants(results.runs, results.variants, results.base, results.protocol, out / "variants.png")


def _csv_cells(row: dict[str, Any], name: str) -> list[float | None]:
    difference = (row["difference"] or {}).get(name) or {"difference": None, "interval": None}
    low_high = row["interval"][name] or [None] * 2
    return [row[name], *low_high, difference["difference"], *(difference["interval"] or [None] * 2)]


def markdown(results: Results) -> str:
    """Two tables in percent, of variants over their seeds and of runs with their 95 % intervals; then what is missing."""
    titles = [METRICS[name]().heading for name in HEADLINE]
    heads = [
        "variant",
        "seeds",
        *titles,
        *(f"{title} - {results.base}" for title in titles),
        *(f"{title} clear" for title in titles),
    ]
    lines = [
        [
            row["variant"],
            len(row["seeds"]),
            *(_plus_minus(row[name], row["deviation"][name]) for name in HEADLINE),
            *(_mean_difference(row["difference"].get(name)) for name in HEADLINE),
            *(_clear_seeds(row["difference"].get(name)) for name in HEADLINE),
        ]
        for row in results.variants
    ]
    run_heads = ["run", *(f"{title} [95 %]" for title in titles), "step", "minutes"]
    run_lines = [
        [row["run"], *(_with_interval(row, name) for name in HEADLINE), row["step"], _minutes(row["seconds"])]
        for row in results.runs
    ]
    paragraphs = [
        f"test split, {results.protocol}, weights of the best validation; ± is the deviation over seeds",
        _table(heads, lines),
        _table(run_heads, run_lines),
    ]
    notes = [f"{name}: {reason}" for name, reason in (results.missing | results.incomparable).items()]
    return "\n\n".join(paragraphs + (["\n".join(notes)] if notes else []))


def _table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=["left"] + ["right"] * (len(heads) - 1))


def _plus_minus(mean: float, deviation: float | None, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f}" + ("" if deviation is None else f" ± {percent(deviation)}")


def _mean_difference(difference: dict[str, Any] | None) -> str:
    return "" if difference is None else _plus_minus(difference["mean"], difference["deviation"], "+")


def _clear_seeds(difference: dict[str, Any] | None) -> str:
    """In how many seeds the interval of the difference excludes 0, e.g. "2 worse of 3"."""
    if difference is None:
        return ""
    worse, better = difference["clear"]
    counts = [f"{count} {word}" for count, word in ((worse, "worse"), (better, "better")) if count]
    return f"{', '.join(counts) or 'none'} of {difference['seeds']}"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


def _with_interval(row: dict[str, Any], name: str) -> str:
    ends = row["interval"][name]
    return percent(row[name]) + ("" if ends is None else f" [{percent(ends[0])}, {percent(ends[1])}]")
