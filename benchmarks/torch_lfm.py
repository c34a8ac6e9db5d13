"""The LFM network in PyTorch, written from its description, under the released key names.

The yardstick of the benchmarks, and the strict-loading class of the export tests. Not part of the package.
"""

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Residuals [B, 3, H, W] -> activations [B, widths[-1], f(H), f(W)]."""

    def __init__(self, widths: tuple[int, ...]):
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
    """Normalised images [B, 3, H, W], even sides -> logits [B]."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512), maps: int = 64, k: int = 16):
        super().__init__()
        self.k = k
        self.downsample_conv = nn.Conv2d(3, 3, 2, stride=2, bias=False)
        self.upsample_conv = nn.ConvTranspose2d(3, 3, 2, stride=2, bias=False)
        self.cnn = Backbone(widths)
        self.covn1_1 = nn.Conv2d(widths[-1], maps, 1, bias=False)
        self.fc1 = nn.Linear(maps * k, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        residual = (images - self.upsample_conv(self.downsample_conv(images))).abs()
        maps = self.covn1_1(self.cnn(residual))
        values = maps.flatten(2).topk(self.k, dim=2).values
        return self.fc1(values.flatten(1))[:, 0]


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] as the network takes it."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.permute(0, 3, 1, 2).float() / 255.0 - mean) / std
