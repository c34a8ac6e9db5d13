"""Scores for images without labels: files and folders as records, and streams of images in Python."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lfm_jax.data import protocols
from lfm_jax.data.sources.folder import open_files
from lfm_jax.errors import DataError
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Failure, Prediction
from lfm_jax.inference.records import Predictions, Record
from lfm_jax.inference.scoring import Scored, score, score_stream
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import progress


def predict_files(
    network: Network, paths: Sequence[str], *, protocol: str, batch_size: int = 32, threads: int = 8
) -> Iterator[Record]:
    """Scores files, and all images below folders, and yields one record for each, in order.

    Raises:
      DataError: no image files in `paths`.
    """
    source = open_files(paths)
    if not source.examples:
        raise DataError(f"no image files in {', '.join(map(str, paths))}")
    items = score(network, source, protocol, batch_size=batch_size, threads=threads)
    for item in progress(items, total=len(source.examples), what="scored"):
        cut = {"truncated": item.truncated} if item.truncated and item.error is None else {}
        yield {"path": source.examples[item.index].path, **asdict(_outcome(network, item, protocol)), **cut}


def predict_stream(
    network: Network, images: Iterable[Any], *, protocol: str, batch_size: int = 32, threads: int = 8
) -> Iterator[Prediction | Failure]:
    """Scores paths, PIL images or arrays and yields what became of each, in order; see `Detector.batches`."""
    items = score_stream(network, images, protocol, batch_size=batch_size, threads=threads)
    return (_outcome(network, item, protocol) for item in items)


def predict_folder(network: Network, folder: str | os.PathLike[str], *, protocol: str | None = None, **speed: int) -> Predictions:
    """Scores all images below `folder`; see `Detector.predict_folder`."""
    folder = expanded(folder)
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}; single images are scored by detector(image), several by detector.batches(images)")
    protocol = protocols.parse(protocol or network.card.protocol).name
    return Predictions(predict_files(network, [str(folder)], protocol=protocol, **speed), folder)


def _outcome(network: Network, item: Scored, protocol: str) -> Prediction | Failure:
    if item.logit is None:
        return Failure(item.error or "")
    return Prediction.of(item.logit, network.card, protocol=protocol, width=item.width, height=item.height)
