"""How often each answer of `lfm predict` is given on labelled images, and how often it is right, by format and by size.

python benchmarks/answers.py --weights=W --data=TEST [--data=TEST2] [--protocol=P]

A trace found is right on a fake; no trace found is right on a photograph; "cannot tell" is neither. Nothing may be chosen
by what this prints where the images are test images.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
from tabulate import tabulate

from lfm_jax.data import protocols
from lfm_jax.data.sources.open import open_tests
from lfm_jax.inference.detector import load
from lfm_jax.inference.prediction import Prediction
from lfm_jax.inference.scoring import score_together
from lfm_jax.inference.verdict import ANSWERS, FOUND, NONE, Picture
from lfm_jax.weights.operating_range import quality_band, side_band

LABELS = ("photos", "fakes")
Row = tuple[int, Prediction, Picture]  # the label, 1 for fake


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument(
        "--data", required=True, action="append", help="[SUITE/]GENERATOR/{0_real,1_fake}/ folders; may be repeated"
    )
    parser.add_argument("--protocol", help="default the weights' own")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    detector = load(args.weights)
    protocol = protocols.parse(args.protocol or detector.card.protocol)
    card = detector.card
    print(f"weights {card.weights_sha256[:12]}, {protocol.name}, threshold {card.threshold:.3g}, {jax.default_backend()}")
    for root in args.data:
        rows = list(answered(detector, root, protocol, args.threads))
        print(f"\n{root}: {len(rows)} images\n\n{table(rows)}")


def answered(detector: Any, root: str, protocol: protocols.Protocol, threads: int) -> Iterator[Row]:
    """The label and the prediction of every image below `root` that could be scored."""
    source = open_tests(root)
    for item in score_together(detector, source, protocol.name, threads=threads):
        if item.logit is not None:
            picture = Picture(item.width, item.height, protocol, item.flat, item.facts)
            yield source.examples[item.index].label, Prediction.of(item.logit, detector.card, picture), picture


def table(rows: list[Row]) -> str:
    """Markdown: a line for all images, then one per format and one per size."""
    lines = [line("all", rows)]
    for name in (format_name, size_name):
        lines += [line(group, [row for row in rows if name(row[2]) == group]) for group in groups(rows, name)]
    heads = ["", *(f"{label}: {answer}" for label in LABELS for answer in ANSWERS), "right when it answers", "answered"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def groups(rows: list[Row], name: Callable[[Picture], str]) -> list[str]:
    smallest_first = sorted(rows, key=lambda row: row[2].side)
    return list(dict.fromkeys(name(picture) for *_, picture in smallest_first))


def line(title: str, rows: list[Row]) -> list[str]:
    """A line of the table: each answer on each label, then how many of the answers other than "cannot tell" are right."""
    counts = Counter((label, prediction.verdict) for label, prediction, _ in rows)
    right, given = counts[1, FOUND] + counts[0, NONE], sum(counts[label, answer] for label in (0, 1) for answer in (FOUND, NONE))
    numbers = [str(counts[label, answer]) for label in (0, 1) for answer in ANSWERS]
    return [title, *numbers, f"{right} of {given}", f"{given} of {len(rows)}"]


def format_name(picture: Picture) -> str:
    facts = picture.facts
    if facts is None:
        return "no file"
    if not facts.lossy:
        return "PNG and other lossless files"
    return f"{facts.container}, quality {quality_band(facts)}" if facts.quality else facts.container


def size_name(picture: Picture) -> str:
    return f"shorter side {side_band(picture.side)} px"


if __name__ == "__main__":
    main()
