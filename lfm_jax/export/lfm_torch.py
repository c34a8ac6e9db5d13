"""The LFM detector of AI-generated images in PyTorch. Needs torch, numpy and Pillow.

    detector = load("lfm.pth")            # with lfm.pth.card.json beside it, as `lfm export --format=torch` leaves it
    detector("photo.png")                 # {"logit": ..., "score": ..., "label": "fake" or "real"}
    detector.logits(images)               # uint8 RGB [N, H, W, 3] -> float32 [N]; above 0 speaks for fake
    detector.network                      # the nn.Module: normalised images [N, 3, H, W] -> logits [N]

This file stands alone: copy it wherever the weights go.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Residuals [N, 3, H, W] -> activations [N, widths[-1], f(H), f(W)]."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        before = 3
        self.depth = len(widths)
        for index, width in enumerate(widths, start=1):
            block = nn.Sequential(nn.Conv2d(before, width, 2), nn.BatchNorm2d(width), nn.ReLU())
            self.add_module(f"layer{index}", block)
            before = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index in range(1, self.depth + 1):
            x = getattr(self, f"layer{index}")(x)
            if index < self.depth:
                x = nn.functional.max_pool2d(x, 2)
        return x


class TorchLfm(nn.Module):
    """Normalised images [N, 3, H, W] -> logits [N]. An odd last row or column counts for nothing."""

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512), maps: int = 64, k: int = 16):
        super().__init__()
        self.k = k
        self.downsample_conv = nn.Conv2d(3, 3, 2, stride=2, bias=False)
        self.upsample_conv = nn.ConvTranspose2d(3, 3, 2, stride=2, bias=False)
        self.cnn = Backbone(widths)
        self.covn1_1 = nn.Conv2d(widths[-1], maps, 1, bias=False)
        self.fc1 = nn.Linear(maps * k, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        images = images[:, :, : height // 2 * 2, : width // 2 * 2]
        with torch.autocast(images.device.type, enabled=False):  # differences of neighbours do not survive 8 bits
            residual = (images - self.upsample_conv(self.downsample_conv(images))).abs()
        maps = self.covn1_1(self.cnn(residual))
        values = maps.flatten(2).topk(self.k, dim=2).values
        logits: torch.Tensor = self.fc1(values.flatten(1))[:, 0]
        return logits


def from_state_dict(state: Mapping[str, torch.Tensor]) -> TorchLfm:
    """State dict -> the network with it, for evaluation. Sizes are those of the tensors; loading is strict."""
    blocks = sum(key.startswith("cnn.") and key.endswith(".0.weight") for key in state)
    widths = [len(state[f"cnn.layer{index}.0.bias"]) for index in range(1, blocks + 1)]
    maps = len(state["covn1_1.weight"])
    network = TorchLfm(widths, maps, state["fc1.weight"].numel() // maps)
    network.load_state_dict(state, strict=True)
    return network.eval()


def normalize(images: torch.Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> torch.Tensor:
    """uint8 RGB [N, H, W, 3] -> float32 [N, 3, H, W], (images / 255 - mean) / std."""
    shift, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (images.permute(0, 3, 1, 2).float() / 255.0 - shift) / scale


def preprocess(image: Image.Image, how: Mapping[str, Any]) -> np.ndarray:
    """RGB image and the card's `preprocessing` -> uint8 [N, h, w, 3]: the whole, its centre, or tiles of it."""
    if how["resize"]:
        image = image.resize((how["resize"], how["resize"]), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    if how["tiles"]:
        side, stride = how["tiles"], how["stride"]
        rests = [max(length - side, 0) for length in pixels.shape[:2]]
        rows, columns = (range(rest % stride // 4 * 2, rest + 1, stride) for rest in rests)  # even: as the image's 2 x 2 blocks
        return np.stack([pixels[top : top + side, left : left + side] for top in rows for left in columns])
    if how["pad"]:
        gaps = [max(how["crop"] - length, 0) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, [(gap // 2, gap - gap // 2) for gap in gaps] + [(0, 0)])
    if how["crop"]:
        top, left = (max(round((length - how["crop"]) / 2), 0) for length in pixels.shape[:2])
        pixels = pixels[top : top + how["crop"], left : left + how["crop"]]
    return pixels[None]


class Detector:
    """A network and its card."""

    def __init__(self, network: TorchLfm, card: dict[str, Any]):
        self.network, self.card = network, card

    @torch.inference_mode()
    def logits(self, images: np.ndarray) -> np.ndarray:
        """images uint8 RGB [N, H, W, 3] -> logits float32 [N]."""
        device = self.network.fc1.weight.device
        pixels = normalize(torch.from_numpy(images).to(device), self.card["model"]["mean"], self.card["model"]["std"])
        return self.network(pixels).cpu().numpy()

    def __call__(self, image: str | os.PathLike[str] | Image.Image) -> dict[str, Any]:
        """File or PIL image -> logit, score in [0, 1] that it is fake, and label, as the card's protocol and threshold have it."""
        if not isinstance(image, Image.Image):
            image = Image.open(image)
        how = self.card["preprocessing"]
        logits = np.sort(self.logits(preprocess(image.convert("RGB"), how)))
        most_fake = math.ceil(len(logits) * how["top"] / 100)  # of tiles, a share counts
        logit = float(logits[-most_fake:].mean())
        scaled, threshold = logit / self.card["temperature"], self.card["threshold"]
        fake = scaled > math.log(threshold / (1 - threshold))  # confident scores round to the same float, their logits do not
        return {"logit": logit, "score": float(np.exp(-np.logaddexp(0, -scaled))), "label": "fake" if fake else "real"}


def load(path: str | os.PathLike[str], device: str = "cpu") -> Detector:
    """NAME.pth and NAME.pth.card.json -> Detector."""
    network = from_state_dict(torch.load(path, map_location=device, weights_only=True)).to(device)
    card = Path(path).with_name(Path(path).name + ".card.json")
    return Detector(network, json.loads(card.read_text()))
