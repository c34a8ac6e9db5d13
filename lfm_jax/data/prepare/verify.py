"""Every image file looked at once: does it decode, and what are its hash, size and format.

In: a `Part`. Out: `Contents`, the files that can be used with their facts, and those left out with the reason. A
journal keeps what was found, so that work cut short at any point goes on where it was.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from lfm_jax.data.images import ImageError, opened, read
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.prepare.layout import Part
from lfm_jax.data.sources.records import Facts
from lfm_jax.errors import DataError
from lfm_jax.runtime.progress import progress


@dataclass(frozen=True)
class Finding:
    """What one file turned out to be; `error` is why it cannot be used, "" where it can."""

    file: str
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    container: str = ""
    error: str = ""


@dataclass(frozen=True)
class Contents:
    """`files` in the order of the folder; `left_out` are paths with the reason."""

    part: Part
    files: Sequence[tuple[Path, Facts]]
    left_out: Sequence[tuple[str, str]]

    @property
    def facts(self) -> list[Facts]:
        return [facts for _, facts in self.files]


class Journal:
    """Findings on disk, a line each as they come. A file whose size and time of change are as noted is not read again."""

    def __init__(self, path: Path):
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line short
        self._found = {finding.file: finding for finding in (Finding(**json.loads(line)) for line in whole.splitlines())}
        self._log: IO[str] = open(path, "a", buffering=1)  # noqa: SIM115  # closed by __exit__
        self._log.truncate(len(whole))

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def find(self, file: Path) -> Finding | None:
        """What is known of the file as it is now."""
        finding = self._found.get(str(file))
        try:
            now = file.stat()
        except OSError:
            return None
        return finding if finding and (finding.size, finding.mtime_ns) == (now.st_size, now.st_mtime_ns) else None

    def note(self, finding: Finding) -> None:
        if self._found.get(finding.file) != finding:
            self._found[finding.file] = finding
            self._log.write(json.dumps(asdict(finding)) + "\n")

    def forget(self, file: Path) -> None:
        """The file is not what was noted."""
        self.note(Finding(str(file), mtime_ns=-1))


def look_at(file: Path) -> Finding:
    """Image file -> Finding, by decoding all of it."""
    try:
        before = file.stat()
        data = read(file)
        with opened(data) as image:
            container = image.format or ""
            width, height = image.convert("RGB").size
    except (ImageError, OSError) as error:
        return Finding(str(file), error=str(error))
    return Finding(str(file), before.st_size, before.st_mtime_ns, hashlib.sha256(data).hexdigest(), width, height, container)


def verify(part: Part, journal: Journal | None = None, *, threads: int = 8) -> Contents:
    """Every file of `part` -> Contents, in `threads`, with progress.

    Raises:
      DataError: not one file can be used.
    """

    def look(place: int) -> Finding:
        file = part.folder / part.examples[place].path
        return (journal and journal.find(file)) or look_at(file)

    findings = read_ahead(look, len(part.examples), threads=threads, ahead=4 * threads)
    files, left_out = [], []
    what = f"verify {part.dataset}/{part.split}"
    for example, finding in zip(part.examples, progress(findings, total=len(part.examples), what=what), strict=True):
        if finding.error:  # not noted: what stands in the way, such as a permission, may go without a trace on the file
            left_out.append((example.path, finding.error))
            continue
        if journal:
            journal.note(finding)
        assert example.label is not None
        facts = Facts(
            path=example.path,
            label=example.label,
            suite=example.suite,
            generator=example.generator,
            class_name=part.class_of(example),
            sha256=finding.sha256,
            size=finding.size,
            width=finding.width,
            height=finding.height,
            container=finding.container,
        )
        files.append((part.folder / example.path, facts))
    if not files:
        path, reason = left_out[0]
        raise DataError(f"not one of the {len(left_out)} images in {part.folder} can be used; {path}: {reason}")
    return Contents(part, files, left_out)
