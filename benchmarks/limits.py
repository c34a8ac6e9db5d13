"""The limits of arithmetic and of memory traffic, stage by stage, which no implementation of the network can beat.

python benchmarks/limits.py                                              # this machine, its peaks measured
python benchmarks/limits.py --flops=989e12 --bandwidth=3.35e12 --dtype=bfloat16   # another machine, by its data sheet

Each stage is taken to read its input and write its pooled output once, and nothing in between.
"""

import argparse

from tabulate import tabulate

from lfm_jax import config, models
from lfm_jax.bench import machine
from lfm_jax.bench.stage_costs import stage_costs

WIDTH = {"float32": 4, "bfloat16": 2}  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=WIDTH)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--flops", type=float, help="FLOP/s; default: of a large matrix product, measured")
    parser.add_argument("--bandwidth", type=float, help="bytes per second; default: of a large array read and written, measured")
    args = parser.parse_args()
    peak, bandwidth = args.flops or machine.peak_flops(args.dtype), args.bandwidth or machine.bandwidth()
    print(f"{args.dtype}, {args.side} x {args.side} px, {peak / 1e12:.3g} TFLOP/s, {bandwidth / 1e9:.4g} GB/s\n")
    print(table(models.build(config.model()), args.side, WIDTH[args.dtype], peak, bandwidth))


def table(model: models.Lfm, side: int, width: int, peak: float, bandwidth: float) -> str:
    """A row for each stage and for the whole: microseconds per image by either limit; the larger one binds."""
    rows, total = [], [0.0] * 5
    for stage in stage_costs(model, side):
        size = stage.bytes(width)
        arithmetic, traffic = 1e6 * stage.flops / peak, 1e6 * size / bandwidth
        figures = [stage.flops / 1e6, size / 1e6, arithmetic, traffic, max(arithmetic, traffic)]
        total = [one + other for one, other in zip(total, figures, strict=True)]
        rows.append([stage.name, *figures])
    rows.append(["all, one after the other", *total])
    pixels = 3 * side**2
    fused = [total[0], pixels / 1e6, total[2], 1e6 * pixels / bandwidth]
    rows.append(["all in one kernel", *fused, max(fused[2:])])
    images_per_s = [f"{1e6 / row[-1]:,.0f}" for row in rows]
    heads = ["stage", "MFLOP", "MB", "us arithmetic", "us bytes", "us limit", "images/s"]
    cells = [
        [name, *(f"{figure:.3g}" for figure in figures), rate] for (name, *figures), rate in zip(rows, images_per_s, strict=True)
    ]
    return tabulate(cells, heads, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
