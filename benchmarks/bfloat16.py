"""How many labels change when the same weights compute in bfloat16, as GPUs and TPUs do, instead of float32.

python benchmarks/bfloat16.py --weights=W --data=TEST [--data=TEST2] [--protocol=crop256]

At most 0.5 % of the labels should differ. Nothing may be chosen by what this prints where the images are test images.
"""

import argparse
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.data.sources.open import open_tests
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import score_together

HEADS = ("", "images", "labels that differ", "share", "largest difference of a logit", "median", "median |logit|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True, action="append", help="as `lfm evaluate` takes it; may be repeated")
    parser.add_argument("--protocol", default="crop256")
    args = parser.parse_args()
    networks = [Network.load(args.weights, compute_dtype=dtype) for dtype in ("float32", "bfloat16")]
    rows = []
    for root in args.data:
        exact, rounded = (logits(network, root, args.protocol) for network in networks)
        rows.append([root, *compared(exact, rounded, networks[0].card)])
    print(tabulate(rows, HEADS, tablefmt="github", floatfmt=".3g"))


def logits(network: Network, root: str, protocol: str) -> np.ndarray:
    """The logit of every image below `root`, NaN for those that cannot be scored."""
    scored = score_together(network, open_tests(root), protocol, threads=2)
    return np.array([np.nan if item.logit is None else item.logit for item in scored])


def compared(exact: np.ndarray, rounded: np.ndarray, card: Any) -> list[Any]:
    """The cells of a row, for images that both could score."""
    both = np.isfinite(exact) & np.isfinite(rounded)
    exact, rounded = exact[both], rounded[both]
    differ = sum(card.is_fake(a) != card.is_fake(b) for a, b in zip(exact, rounded, strict=True))
    difference = np.abs(exact - rounded)
    return [len(exact), differ, f"{differ / len(exact):.2%}", difference.max(), np.median(difference), np.median(np.abs(exact))]


if __name__ == "__main__":
    main()
