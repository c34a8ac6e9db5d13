"""Inference against PyTorch on the same cores: images per second from uint8 batches to logits, in turns, in one process.

python benchmarks/inference.py --weights=lfm_bs_model.pth [--batches 1 8 32] [--side 256] [--rounds 7]
"""

import argparse

import jax
import numpy as np
import torch
from tabulate import tabulate

import lfm_jax
from lfm_jax.export.lfm_torch import TorchLfm, normalize
from lfm_jax.runtime.timing import in_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="the released .pth")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    detector, network = lfm_jax.load(args.weights), TorchLfm().eval()
    network.load_state_dict(torch.load(args.weights, map_location="cpu"))
    in_channels_last = TorchLfm().eval()
    in_channels_last.load_state_dict(network.state_dict())
    in_channels_last = in_channels_last.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def eager(images: np.ndarray) -> np.ndarray:
        return network(normalize(torch.from_numpy(images))).numpy()

    @torch.inference_mode()
    def channels_last(images: np.ndarray) -> np.ndarray:
        return in_channels_last(normalize(torch.from_numpy(images)).contiguous(memory_format=torch.channels_last)).numpy()

    plain = jax.jit(lambda variables, images: detector.model.apply(variables, images).logits)
    alternatives = {
        "PyTorch eager": eager,
        "PyTorch channels-last": channels_last,
        "plain network": lambda images: np.asarray(plain(detector.variables, images)),
        "Detector": detector.logits,
    }
    rng, rows = np.random.default_rng(0), []
    for batch in args.batches:
        inputs = [rng.integers(0, 256, (batch, args.side, args.side, 3), dtype=np.uint8) for _ in range(args.rounds)]
        expected = eager(inputs[0])
        for name, function in alternatives.items():
            np.testing.assert_allclose(function(inputs[0]), expected, rtol=1e-5, atol=1e-4, err_msg=name)
        calls = {name: lambda round_, f=function, inputs=inputs: f(inputs[round_]) for name, function in alternatives.items()}
        timings = in_turns(calls, rounds=args.rounds)
        base = timings["PyTorch eager"].median
        rows += [
            [batch, name, 1e3 * t.median, 1e3 * min(t.seconds), batch / t.median, base / t.median] for name, t in timings.items()
        ]
    machine = f"{jax.devices()[0].device_kind}, {torch.get_num_threads()} threads"
    print(f"\n{machine}, float32, {args.side} px, {args.rounds} rounds in turns")
    print(tabulate(rows, ["batch", "", "ms, median", "min", "images/s", "x eager"], tablefmt="github", floatfmt=".1f"))


if __name__ == "__main__":
    main()
