"""The yardstick: the LFM network in PyTorch that exports bring along, run in the ways that are common there.

Importing this module loads PyTorch, so it is imported only when a comparison is made. Images and labels are numpy arrays.
"""

import copy
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


def scorers(network: TorchLfm) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Functions from uint8 images [B, H, W, 3] to logits [B], by the way in which PyTorch runs the network."""
    device = next(network.parameters()).device
    channels_last: Any = copy.deepcopy(network).eval()
    channels_last.to(memory_format=torch.channels_last)

    def scorer(module: Callable[[torch.Tensor], torch.Tensor], *, bfloat16: bool = False) -> Callable[[np.ndarray], np.ndarray]:
        @torch.inference_mode()
        def score(images: np.ndarray) -> np.ndarray:
            pixels = normalize(torch.from_numpy(images).to(device))
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                return module(pixels).float().cpu().numpy()

        return score

    compiled = torch.compile(channels_last)
    return {
        "PyTorch eager float32": scorer(copy.deepcopy(network).eval()),
        "PyTorch channels-last float32": scorer(channels_last),
        "PyTorch channels-last bfloat16": scorer(channels_last, bfloat16=True),
        "PyTorch compiled float32": scorer(compiled),
        "PyTorch compiled bfloat16": scorer(compiled, bfloat16=True),
    }


def trainer(network: TorchLfm, *, bfloat16: bool = False, compiled: bool = False) -> Callable[[np.ndarray, np.ndarray], float]:
    """A function from uint8 images [B, H, W, 3] and labels [B] to the loss of a step of Adam, which it waits for."""
    device = next(network.parameters()).device
    network.train()
    for fixed in (network.downsample_conv, network.upsample_conv):
        fixed.requires_grad_(False)
    adam = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-4)
    module: Any = torch.compile(network) if compiled else network

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        adam.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
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
