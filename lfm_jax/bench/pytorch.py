"""The yardstick: the LFM network in PyTorch that exports bring along, run in the ways that are common there.

Importing this module loads PyTorch, so it is imported only when a comparison is made. Images and labels are numpy arrays.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from lfm_jax.export.lfm_torch import TorchLfm, normalize


def load(state: dict[str, np.ndarray], widths: tuple[int, ...], maps: int, k: int) -> TorchLfm:
    """The network with the weights of a state dict, on the GPU if there is one."""
    network = TorchLfm(widths, maps, k)
    network.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()}, strict=True)
    return network.to("cuda" if torch.cuda.is_available() else "cpu")


def precisions() -> tuple[str, ...]:
    """How PyTorch may compute here, what it does unless told otherwise first: its convolutions on a GPU round factors to TF32."""
    return ("TF32", "float32", "bfloat16") if torch.cuda.is_available() else ("float32", "bfloat16")


def computing_in(precision: str, device: torch.device) -> Any:
    """A context for PyTorch to compute in one of `precisions`."""
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def compile_module(module: nn.Module) -> Any:
    """A compiled module, for one shape at a time. What was compiled before is forgotten, or its number would end compiling."""
    torch._dynamo.reset()
    return torch.compile(module, dynamic=False)


def scorers(network: TorchLfm) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Functions from uint8 images [B, H, W, 3] to logits [B], by the way in which PyTorch runs the network."""
    device = next(network.parameters()).device
    plain, channels_last = (copy.deepcopy(network).eval() for _ in range(2))
    channels_last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scorer(module: Callable[[torch.Tensor], torch.Tensor], precision: str) -> Callable[[np.ndarray], np.ndarray]:
        @torch.inference_mode()
        def score(images: np.ndarray) -> np.ndarray:
            with computing_in(precision, device):
                return module(normalize(torch.from_numpy(images).to(device))).float().cpu().numpy()

        return score

    usual, *others = precisions()
    compiled_once = functools.cache(lambda: compile_module(channels_last))  # when it is first called: where it cannot, others can
    ways: list[tuple[str, Callable[[torch.Tensor], torch.Tensor], str]] = [
        ("eager", plain, usual),
        ("channels-last", channels_last, usual),
        ("channels-last", channels_last, "bfloat16"),
        ("compiled", lambda pixels: compiled_once()(pixels), usual),
        ("compiled", lambda pixels: compiled_once()(pixels), "bfloat16"),
    ]
    ways += [("eager", plain, precision) for precision in others if precision != "bfloat16"]
    return {f"PyTorch {name} {precision}": scorer(module, precision) for name, module, precision in ways}


def trainer(network: TorchLfm, *, precision: str = "", compiled: bool = False) -> Callable[[np.ndarray, np.ndarray], float]:
    """A function from uint8 images [B, H, W, 3] and labels [B] to the loss of a step of Adam, which it waits for.

    `precision` is one of `precisions()`, by default the first.
    """
    device, precision = next(network.parameters()).device, precision or precisions()[0]
    network.train()
    for fixed in (network.downsample_conv, network.upsample_conv):
        fixed.requires_grad_(False)
    adam = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-4)
    module: Any = compile_module(network) if compiled else network

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        adam.zero_grad(set_to_none=True)
        with computing_in(precision, device):
            logits = module(normalize(torch.from_numpy(images).to(device)))
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(labels).to(device))
        loss.backward()
        adam.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return float(loss.detach())

    return step


def measure_gpu_memory(function: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """Call a function; returns its result and the peak of GPU memory in use meanwhile, in bytes; 0 on a CPU."""
    if not torch.cuda.is_available():
        return function(*args), 0
    torch.cuda.reset_peak_memory_stats()
    return function(*args), torch.cuda.max_memory_allocated()
