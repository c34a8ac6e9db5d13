"""lfm_jax: the LFM detector of AI-generated images in JAX.

    det = lfm_jax.load("weights.safetensors")
    det("photo.png").score

Importing this touches no device; the parts are loaded when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfm_jax.detector import Detector, Failure, Prediction, load

__version__ = "0.1.0"
__all__ = ["Detector", "Failure", "Prediction", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lfm_jax import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'lfm_jax' has no attribute {name!r}: it offers {', '.join(__all__)}")
