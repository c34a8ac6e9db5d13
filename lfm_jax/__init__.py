"""lfm_jax: the LFM detector of AI-generated images in JAX.

    detector = lfm_jax.load()  # or the path or name of other weights
    detector("photo.png").score

Importing the package touches no device: its parts are loaded when they are first used.
"""

from typing import TYPE_CHECKING, Any

from lfm_jax import _moved

if TYPE_CHECKING:
    from lfm_jax.inference.detector import Detector, load
    from lfm_jax.inference.prediction import Failure, Prediction

__version__ = "0.1.0"
__all__ = ["Detector", "Failure", "Prediction", "load"]

_moved.install()


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lfm_jax.inference import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'lfm_jax' has no attribute {name!r}: it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
