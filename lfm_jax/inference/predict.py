"""Scores for images without labels: files, folders and videos as records, and streams of images in Python."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.archives import SUFFIXES, Member, is_archive, members, require_readable
from lfm_jax.data.images import ImageError
from lfm_jax.data.listing import Passed
from lfm_jax.data.provenance import Provenance, provenance_of_file, read_image
from lfm_jax.data.sources.folder import open_files
from lfm_jax.data.video import Frame, Video, is_video
from lfm_jax.errors import DataError, UserError
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Failure, Prediction
from lfm_jax.inference.records import Predictions, Record
from lfm_jax.inference.scoring import Scored, score_stream
from lfm_jax.inference.verdict import Picture
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import progress, say
from lfm_jax.runtime.storage import is_remote

Unsure = tuple[float, float] | None  # scores that are answered "cannot tell", (lowest, highest)


def predict_files(
    network: Network,
    paths: Sequence[str],
    *,
    protocol: str,
    unsure: Unsure = None,
    passed: Passed | None = None,
    every: float | None = None,
    batch_size: int = 32,
    threads: int = 8,
) -> Iterator[Record]:
    """Scores files, the images in archives, and all images below folders, and yields one record for each, in order.

    Args:
      unsure: scores to answer "cannot tell" to, (lowest, highest).
      passed: counts files that are not read, which are named at once without it.
      every: also score videos, a frame every so many seconds: a record for each, whose path ends in #t=SECONDS.

    Raises:
      DataError: no image files in `paths`.
    """
    files = list_files(paths, passed, videos=every is not None)
    options: dict[str, Any] = {"protocol": protocol, "unsure": unsure, "batch_size": batch_size, "threads": threads}
    for video, group in groupby(files, key=lambda file: every is not None and is_video(file)):
        if video and every:
            for file in group:
                yield from _video_records(network, file, every=every, **options)
        else:
            yield from _image_records(network, list(group), passed, **options)


def _image_records(network: Network, files: Sequence[str], passed: Passed | None, **options: Any) -> Iterator[Record]:
    """A record for each image, whether it is a file or inside an archive: batches do not end where archives do."""
    names: dict[int, str] = {}  # by place in the stream, until the answer is given
    left_out = Passed() if passed is None else passed

    def images() -> Iterator[str | Member]:
        place = itertools.count()
        for file in files:
            for image in members(file, left_out) if is_archive(file) else [file]:
                names[next(place)] = image.name if isinstance(image, Member) else image
                yield image

    total = None if any(map(is_archive, files)) else len(files)
    for item, outcome in progress(_outcomes(network, images(), **options), total=total, what="scored"):
        cut = {"truncated": item.truncated} if item.truncated and item.error is None else {}
        yield {"path": names.pop(item.index), **asdict(outcome), **cut}
    if passed is None:
        left_out.tell("archives")


def list_files(paths: Sequence[str], passed: Passed | None = None, *, videos: bool = False) -> list[str]:
    """The images, archives, and videos where asked for, that `predict_files` scores.

    Raises:
      DataError: there are none.
      UserError: one of them is of a kind that cannot be read here.
    """
    files = [example.path for example in open_files(paths, passed, videos=videos).examples]
    if not files:
        raise DataError(f"no image files in {', '.join(map(str, paths))}; archives are read where they are named, not in folders")
    for file in files:
        if is_archive(file):
            require_readable(file)
        elif is_remote(file):
            raise UserError(f"{file}: of what lies in buckets only archives are read ({', '.join(SUFFIXES)})")
    return files


def predict_stream(
    network: Network, images: Iterable[Any], *, protocol: str, unsure: Unsure = None, batch_size: int = 32, threads: int = 8
) -> Iterator[Prediction | Failure]:
    """Scores paths, PIL images or arrays and yields what became of each, in order; see `Detector.batches`."""
    options: dict[str, Any] = {"protocol": protocol, "unsure": unsure, "batch_size": batch_size, "threads": threads}
    return (outcome for _, outcome in _outcomes(network, images, **options))


def predict_folder(network: Network, folder: str | os.PathLike[str], *, protocol: str | None = None, **speed: Any) -> Predictions:
    """Scores all images below `folder`; see `Detector.predict_folder`."""
    folder = expanded(folder)
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}; single images are scored by detector(image), several by detector.batches(images)")
    protocol = protocols.parse(protocol or network.card.protocol).name
    return Predictions(predict_files(network, [str(folder)], protocol=protocol, **speed), folder)


def _outcomes(
    network: Network, images: Iterable[Any], *, protocol: str, unsure: Unsure, batch_size: int, threads: int
) -> Iterator[tuple[Scored, Prediction | Failure]]:
    said: dict[int, Provenance | None] = {}  # by place in the stream, until the answer is given

    def read(place: int, image: Any) -> Image.Image:
        decoded, said[place] = read_image(image)
        return decoded

    for item in score_stream(network, images, protocol, batch_size=batch_size, threads=threads, read=read):
        yield item, _outcome(network, item, protocol, said.pop(item.index, None), unsure)


def _video_records(
    network: Network, file: str, *, every: float, protocol: str, unsure: Unsure, batch_size: int, threads: int
) -> Iterator[Record]:
    """A record for each frame, one for the file if it is broken, and a summary on stderr."""
    seconds: dict[int, float] = {}
    broken: list[str] = []
    scores: list[tuple[float, float]] = []  # and when
    above = 0
    try:
        video = Video(file, every=every)
    except ImageError as error:
        yield {"path": file, "error": str(error)}
        return
    provenance = provenance_of_file(file)

    def frames() -> Iterator[Frame]:
        try:
            for number, frame in enumerate(video):
                seconds[number] = frame.seconds
                yield frame
        except ImageError as error:
            broken.append(str(error))

    to_rgb: Callable[[int, Frame], Image.Image] = lambda _, frame: frame.image()  # noqa: E731
    ahead = video.frames_ahead(batch_size)
    for item in score_stream(network, frames(), protocol, batch_size=ahead, threads=min(threads, ahead), read=to_rgb):
        at = seconds.pop(item.index)
        outcome = _outcome(network, item, protocol, provenance, unsure)
        if isinstance(outcome, Prediction):
            scores.append((outcome.score, at))
            above += outcome.label == "fake"
        yield {"path": f"{file}#t={at:.6g}", **asdict(outcome)}
    if scores:
        highest, at = max(scores)
        say(
            f"{file}: {len(scores)} frames, {above} above the threshold; highest score {highest:.4f} at t={at:.6g}. "
            "A low score says nothing unless the weights were shown to see video frames (docs/data.md)"
        )
    for reason in broken:
        yield {"path": file, "error": reason}


def _outcome(network: Network, item: Scored, protocol: str, provenance: Provenance | None, unsure: Unsure) -> Prediction | Failure:
    if item.logit is None:
        return Failure(item.error or "")
    picture = Picture(item.width, item.height, protocols.parse(protocol), item.flat, item.facts)
    return Prediction.of(item.logit, network.card, picture, unsure=unsure, provenance=provenance)
