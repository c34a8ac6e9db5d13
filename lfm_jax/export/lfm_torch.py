"""The LFM detector of AI-generated images in PyTorch, and its baselines NPR and ResNet-50. Needs torch, numpy and Pillow.

    detector = load("lfm.pth")            # with lfm.pth.card.json beside it, as `lfm export --format=torch` leaves it
    detector("photo.png")                 # {"logit": ..., "score": ..., "label": "fake" or "real"}
    detector.logits(images)               # uint8 RGB [N, H, W, 3] -> float32 [N]; above 0 means fake
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
    """SNet: turns residuals [N, 3, H, W] into activations [N, widths[-1], h, w]."""

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
    """LFM: turns normalised images [N, 3, H, W] into logits [N]. An odd last row or column is ignored.

    The layers have the names of the released code, `covn1_1` included, so that its weights load strictly.
    """

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
        with torch.autocast(images.device.type, enabled=False):  # bfloat16's 8 bits lose the differences of neighbours
            residual = (images - self.upsample_conv(self.downsample_conv(images))).abs()
        maps = self.covn1_1(self.cnn(residual))
        values = maps.flatten(2).topk(self.k, dim=2).values
        logits: torch.Tensor = self.fc1(values.flatten(1))[:, 0]
        return logits


class Bottleneck(nn.Module):
    """Residual block from [N, before, H, W] to [N, 4 * width, H', W'], with torchvision's names."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        if stride > 1 or before != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(before, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class TorchResNet(nn.Module):
    """ResNet-50's first stages, one for each of `widths`: turns normalised images [N, 3, H, W] into logits [N].

    With `npr` it sees the signed residual of nearest neighbours times 2/3, has a 3 x 3 stem, and its last layer is called
    `fc1`. Otherwise it sees plain pixels, has a 7 x 7 stem, and its last layer is called `fc`. An odd last row or column is
    ignored.
    """

    def __init__(self, widths: Sequence[int], *, npr: bool):
        super().__init__()
        self.npr, self.stages, self.head = npr, len(widths), "fc1" if npr else "fc"
        stem = 3 if npr else 7
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], stem, 2, padding=stem // 2, bias=False), nn.BatchNorm2d(widths[0])
        before = widths[0]
        for stage, (width, blocks) in enumerate(zip(widths, (3, 4, 6, 3), strict=False), start=1):
            strides = [1 if stage == 1 else 2] + [1] * (blocks - 1)
            befores = [before] + [4 * width] * (blocks - 1)
            parts = (Bottleneck(channels, width, stride) for channels, stride in zip(befores, strides, strict=True))
            self.add_module(f"layer{stage}", nn.Sequential(*parts))
            before = 4 * width
        self.add_module(self.head, nn.Linear(before, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        x = images[:, :, : height // 2 * 2, : width // 2 * 2]
        if self.npr:
            x = (x - x[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)) * 2.0 / 3.0
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, padding=1)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        head: nn.Module = getattr(self, self.head)
        logits: torch.Tensor = head(x.mean((2, 3)))[:, 0]
        return logits


def from_state_dict(state: Mapping[str, torch.Tensor]) -> TorchLfm | TorchResNet:
    """The network that a state dict belongs to, with its weights, for evaluation.

    The tensors tell which network it is and its sizes. Loading is strict: a key too many or too few is an error.
    """
    network = _resnet_for(state) if "conv1.weight" in state else _lfm_for(state)
    network.load_state_dict(state, strict=True)
    return network.eval()


def _resnet_for(state: Mapping[str, torch.Tensor]) -> TorchResNet:
    stages = sum(key.startswith("layer") and key.endswith(".0.conv1.weight") for key in state)
    widths = [len(state[f"layer{stage}.0.conv1.weight"]) for stage in range(1, stages + 1)]
    return TorchResNet(widths, npr="fc1.weight" in state)


def _lfm_for(state: Mapping[str, torch.Tensor]) -> TorchLfm:
    blocks = sum(key.startswith("cnn.") and key.endswith(".0.weight") for key in state)
    widths = [len(state[f"cnn.layer{index}.0.bias"]) for index in range(1, blocks + 1)]
    maps = len(state["covn1_1.weight"])
    return TorchLfm(widths, maps, state["fc1.weight"].numel() // maps)


def normalize(images: torch.Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> torch.Tensor:
    """Turn uint8 RGB [N, H, W, 3] into float32 [N, 3, H, W], (images / 255 - mean) / std."""
    shift, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (images.permute(0, 3, 1, 2).float() / 255.0 - shift) / scale


def preprocess(image: Image.Image, protocol: Mapping[str, Any]) -> np.ndarray:
    """Cut an RGB image into pixels uint8 [N, h, w, 3]: the whole of it, its centre, or tiles.

    Args:
      protocol: the entry `preprocessing` of the card.
    """
    if protocol["resize"]:
        image = image.resize((protocol["resize"], protocol["resize"]), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    if protocol["tiles"]:
        side, stride = protocol["tiles"], protocol["stride"]
        rests = [max(length - side, 0) for length in pixels.shape[:2]]
        rows, columns = (range(rest % stride // 4 * 2, rest + 1, stride) for rest in rests)  # even: aligned with 2 x 2 blocks
        return np.stack([pixels[top : top + side, left : left + side] for top in rows for left in columns])
    crop = protocol["crop"]
    if protocol["pad"]:
        gaps = [max(crop - length, 0) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, [(gap // 2, gap - gap // 2) for gap in gaps] + [(0, 0)])
    if crop:
        top, left = (max(round((length - crop) / 2), 0) for length in pixels.shape[:2])
        pixels = pixels[top : top + crop, left : left + crop]
    return pixels[None]


class Detector:
    """A network, and the card that says how to prepare images and read logits."""

    def __init__(self, network: TorchLfm | TorchResNet, card: dict[str, Any]):
        self.network, self.card = network, card

    @torch.inference_mode()
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 [N] of images uint8 RGB [N, H, W, 3]."""
        device = next(self.network.parameters()).device
        pixels = normalize(torch.from_numpy(images).to(device), self.card["model"]["mean"], self.card["model"]["std"])
        return self.network(pixels).cpu().numpy()

    def __call__(self, image: str | os.PathLike[str] | Image.Image) -> dict[str, Any]:
        """Logit, score in [0, 1] and label of a file or PIL image, by the card's protocol and threshold."""
        if not isinstance(image, Image.Image):
            image = Image.open(image)
        protocol = self.card["preprocessing"]
        logits = np.sort(self.logits(preprocess(image.convert("RGB"), protocol)))
        most_fake = math.ceil(len(logits) * protocol["top"] / 100)  # of tiles, only this share counts
        logit = float(logits[-most_fake:].mean())
        scaled, threshold = logit / self.card["temperature"], self.card["threshold"]
        fake = scaled > math.log(threshold / (1 - threshold))  # confident scores round to the same float, logits do not
        return {"logit": logit, "score": float(np.exp(-np.logaddexp(0, -scaled))), "label": "fake" if fake else "real"}


def load(path: str | os.PathLike[str], device: str = "cpu") -> Detector:
    """Read NAME.pth and NAME.pth.card.json."""
    network = from_state_dict(torch.load(path, map_location=device, weights_only=True)).to(device)
    card = Path(path).with_name(Path(path).name + ".card.json")
    return Detector(network, json.loads(card.read_text()))
