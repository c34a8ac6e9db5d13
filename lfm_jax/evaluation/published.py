"""Published results as data, to stand beside ours where suite, generators, protocol and view are the same.

Where a publication does not say under which protocol it measured, the protocol here is None and its row stands beside
nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from lfm_jax.data import suites
from lfm_jax.data.views import AS_IS
from lfm_jax.evaluation.metrics import HEADLINE, METRICS
from lfm_jax.evaluation.tables import percent

OVERALL = "all"  # over several suites


@dataclass(frozen=True)
class Published:
    """Mean over a suite's generators, `acc` and `ap` in [0, 1]; `source` cites the publication and says whose the protocol is."""

    detector: str
    suite: str
    acc: float | None
    ap: float | None
    source: str
    protocol: str | None = None
    view: str = AS_IS


NPR = "NPR paper, CVPR 2024, arXiv 2312.10461; protocol of its test script"
RERUN = "NPR's released weights, rerun by others; protocol not stated"
RETRAINED = "NPR retrained by its users, best of their reports; protocols not stated"
SAFE = "SAFE, 2025; protocol of its evaluation script, which pads small images"
FERRETNET = "FerretNet, NeurIPS 2025, selected on test data; protocol not checked"
FORMAT = "reported for fakes saved as JPEG of quality 96; protocol not stated"

PUBLISHED = (
    Published("NPR", "ForenSynths", 0.925, 0.961, NPR, "resize256"),
    Published("NPR", "GANGen-Detection", 0.932, None, NPR, "native"),
    Published("NPR", "DiffusionForensics", 0.953, 0.998, NPR, "resize256"),
    Published("NPR, rerun", "ForenSynths", 0.923, 0.942, RERUN),
    Published("NPR, rerun", "GANGen-Detection", 0.932, None, RERUN),
    Published("NPR, rerun", "DiffusionForensics", 0.952, 0.994, RERUN),
    Published("NPR, rerun", "UniversalFakeDetect", 0.946, None, RERUN),
    Published("NPR, retrained", "ForenSynths", 0.889, 0.923, RETRAINED),
    Published("NPR, retrained", "GANGen-Detection", 0.644, 0.736, RETRAINED),
    Published("NPR, retrained", "UniversalFakeDetect", 0.918, 0.974, RETRAINED),
    Published("SAFE", "ForenSynths", 0.962, None, SAFE, "crop256_pad"),
    Published("SAFE", "GANGen-Detection", 0.990, None, SAFE, "crop256_pad"),
    Published("SAFE", "UniversalFakeDetect", 0.957, None, SAFE, "crop256_pad"),
    Published("FerretNet", "ForenSynths", 0.959, 0.993, FERRETNET),
    # Over several suites under several protocols (GANGen-Detection has its own): comparable with no row of ours.
    Published("LFM", OVERALL, 0.955, 0.9825, "the name of LFM's released checkpoint; BMVC 2025, arXiv 2508.17029"),
    Published("NPR", "ForenSynths", 0.479, None, FORMAT, view="fakes_q96"),
    Published("SAFE", "ForenSynths", 0.497, None, FORMAT, view="fakes_q96"),
)


def beside(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The published results, as plain dicts, that some suite's row among `rows` may be compared with.

    That row has to be of the same suite, whole (all its generators and no other), under the same protocol and view.
    """
    comparable: dict[Published, None] = {}  # each once, in order
    for row in rows:
        suite = suites.find(row["suite"]) if row["level"] == "suite" else None
        if suite and _generators(rows, row["suite"]) == {name.casefold() for name in suite.generators}:
            comparable |= dict.fromkeys(_same(suite.name, row["protocol"], row["view"]))
    return [asdict(result) for result in comparable]


def _same(suite: str, protocol: str, view: str) -> list[Published]:
    return [result for result in PUBLISHED if (result.suite, result.protocol, result.view) == (suite, protocol, view)]


def _generators(rows: Sequence[dict[str, Any]], suite: str) -> set[str]:
    return {row["generator"].casefold() for row in rows if row["level"] == "generator" and row["suite"] == suite}


def markdown(published: Sequence[dict[str, Any]]) -> str:
    """What `beside` returned -> Markdown table, in percent."""
    names = ("detector", "protocol", "view", "suite")
    heads = ["published, same protocol", *names[1:], *(METRICS[name]().heading for name in HEADLINE), "source"]
    lines = [[*(row[name] for name in names), *(percent(row[name]) for name in HEADLINE), row["source"]] for row in published]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=["left"] * 4 + ["right"] * 2 + ["left"])


def sentences(published: Sequence[dict[str, Any]]) -> list[str]:
    """What `beside` returned, one sentence each, for a terminal that is too narrow for the table."""
    return [
        f"Published, {row['protocol']}, {row['view']}: {row['detector']} on {row['suite']}, ACC {percent(row['acc'])}, "
        f"AP {percent(row['ap'])} ({row['source']})."
        for row in published
    ]
