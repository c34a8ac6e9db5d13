"""What a file says about where it came from, as plain data: findings, and what they claim taken together.

None of it is proof. Metadata can be written by anybody and is removed by most uploads, so it never changes a score.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

GENERATED, CAMERA, NOTHING = "says it was generated", "says it came from a camera", "says nothing"
MAX_EXCERPT = 200  # characters
MAX_FINDINGS = 16
_SPACE = re.compile(r"[\s\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Finding:
    """One thing that the file says.

    Attributes:
      kind: where it stands: "png text", "exif", "xmp", "c2pa" or "comment".
      says: what it says, in words.
      excerpt: the beginning of the text itself, on one line.
      claim: GENERATED, CAMERA, or "" where it speaks for neither.
    """

    kind: str
    says: str
    excerpt: str = ""
    claim: str = ""

    @classmethod
    def of(cls, kind: str, says: str, excerpt: str = "", claim: str = "") -> Self:
        """A finding whose texts, which come from the file, are bounded and safe to print."""
        return cls(kind, one_line(says), one_line(excerpt), claim)


@dataclass(frozen=True)
class Provenance:
    """What a file says about its origin, which can be forged and can be removed. `claim` is GENERATED, CAMERA or NOTHING."""

    claim: str = NOTHING
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Self:
        """Sums findings up: generated, wholly or in part, if any says so, even where a camera is named as well."""
        kept = tuple(dict.fromkeys(findings))[:MAX_FINDINGS]
        claims = {finding.claim for finding in kept}
        return cls(next((claim for claim in (GENERATED, CAMERA) if claim in claims), NOTHING), kept)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of it, as it stands in a record."""
        return cls(values["claim"], tuple(Finding(**finding) for finding in values["findings"]))

    @property
    def is_notable(self) -> bool:
        """Whether the file speaks of its origin, or has content credentials, even broken ones."""
        return self.claim != NOTHING or any(finding.kind == "c2pa" for finding in self.findings)

    def line(self) -> str:
        """All of it on one line: "says it was generated (png text: ...; exif: ...)"."""
        details = "; ".join(f"{finding.kind}: {finding.says}" for finding in self.findings)
        return self.claim + (f" ({details})" if details else "")


def one_line(text: Any, limit: int = MAX_EXCERPT) -> str:
    """Text from a file on one line, cut to `limit` characters, without what a terminal would obey or cannot show."""
    beginning = str(text)[: 4 * limit]  # before the rest is looked at
    plain = "".join(char for char in _SPACE.sub(" ", beginning) if char.isprintable()).strip()
    return plain if len(plain) <= limit else f"{plain[: limit - 3].rstrip()}..."
