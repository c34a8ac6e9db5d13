"""A decoder's picture of a photograph, given the photograph's own power at every frequency.

Every decoder leaves out some of what it is given: a sensor's noise, and with that what makes a photograph look sharp. A network
tells such a pair by its sharpness, which is no trace of a generator. So within each band of frequencies the photograph p is
taken apart into what the picture d explains of it, g d, and the rest, n = p - g d, which is orthogonal to d. The rest is put
back with its sign turned, as much of it as power is missing: noise of the same kind at the same places, but other noise. A
picture that is too soft, which shows by g > 1, is sharpened by g first. Whatever else a decoder adds stays.
"""

import numpy as np

BANDS = 48  # of the distance from the mean, with edges at equal ratios
TINY = 1e-12  # of an image without anything in a band
LOWEST = 0.02  # upper edge of the first band, where 1 is the highest frequency along one side


def with_power_of(photograph: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """`picture` with the power of `photograph` in each band of frequencies and channel; both float32 [H, W, C] in 0..1.

    Where the picture has more than the photograph, it keeps that. Where a value of the photograph is at the end of its range, 0
    or 1, it stays there, as a sensor's noise is cut off.

    Returns:
      float32 [H, W, C]; values may lie beyond 0..1.
    """
    from scipy.fft import dctn, idctn  # here, as it takes a while to load

    height, width, channels = photograph.shape
    distance = np.hypot(np.arange(height)[:, None] / height, np.arange(width) / width).ravel()
    band = np.searchsorted(np.geomspace(LOWEST, np.sqrt(2), BANDS), distance)
    given, made = (dctn(image, axes=(0, 1), norm="ortho").reshape(-1, channels) for image in (photograph, picture))
    result = np.empty_like(given)
    for channel in range(channels):
        p, d = given[:, channel], made[:, channel]
        power = np.bincount(band, d * d, BANDS) + TINY
        explained = np.bincount(band, p * d, BANDS) / power
        sharpened = np.maximum(explained, 1)
        rest = p - explained[band] * d
        left = np.bincount(band, rest * rest, BANDS) + TINY
        turned = np.sqrt(np.clip(1 - (sharpened**2 - explained**2) * power / left, 0, 1))
        result[:, channel] = sharpened[band] * d - turned[band] * rest
    matched = idctn(result.reshape(photograph.shape), axes=(0, 1), norm="ortho")
    return np.where((photograph == 0) | (photograph == 1), photograph, matched).astype(np.float32)
