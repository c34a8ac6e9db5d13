"""Content credentials (C2PA): a signed manifest in the file, looked for without a library and checked with c2pa-python.

No host is asked: neither for manifests kept elsewhere nor whether a certificate was withdrawn. Who signed is what the
certificate says; it is not compared with a list of trusted signers, so it is a name and not an identity.
"""

import functools
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lfm_jax.data.provenance.base import Finding, one_line
from lfm_jax.data.provenance.blocks import Buffer
from lfm_jax.data.provenance.xmp import SOURCE_TYPES

_SOURCE_TYPE = re.compile(r"digitalsourcetype/(\w{1,60})")
_GENERATOR = re.compile(rb"claim_generator(?:_info)?(?:[\x80-\xbf]{1,2}dname)?([\x60-\x78])", re.DOTALL)  # then text in CBOR
UNCHECKED = "manifest present, not checked: pip install 'lfm_jax[c2pa]' checks its signature"
MAX_JSON = 1 << 22  # characters of a manifest as JSON
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"max_decompressed_manifest_size_in_mb": 4, "allowed_network_hosts": []},
}
STATES = {  # of the validation, in words
    "Trusted": "file unchanged since, signer trusted",
    "Valid": "file unchanged since; who the signer really is was not checked",
    "Invalid": "signature does NOT match: changed since it was signed, or forged",
}


def manifest_findings(manifest: bytes, data: Buffer, mime: str) -> Iterator[Finding]:
    """The findings of a file with a manifest: checked where c2pa-python is installed, else as they stand in it.

    Args:
      manifest: its beginning, as stored.
      data: the whole file.
      mime: its type.
    """
    checked = _validated(data, mime)
    if checked is None:
        yield Finding.of("c2pa", UNCHECKED, _named(manifest))
        yield from _source_types(manifest.decode("latin-1"), "an unchecked manifest has")
    elif isinstance(checked, str):
        yield Finding.of("c2pa", f"manifest present, but it cannot be read: {checked}")
    else:
        manifests, state = checked.get("manifests") or {}, str(checked.get("validation_state"))
        active = manifests.get(checked.get("active_manifest")) or {}
        yield Finding.of("c2pa", f"manifest signed by {_signer(active)}, written by {_maker(active)}: {STATES.get(state, state)}")
        if state in ("Trusted", "Valid"):
            yield from _source_types(json.dumps(manifests), "a signed manifest has")
        else:
            yield from (
                replace(one, claim="") for one in _source_types(json.dumps(manifests), "the manifest, which does not match, has")
            )


def _signer(manifest: Mapping[str, Any]) -> str:
    """The names in the certificate."""
    names = [str((manifest.get("signature_info") or {}).get(name) or "") for name in ("issuer", "common_name")]
    return one_line(" / ".join(dict.fromkeys(filter(None, names))), 60) or "nobody named"


def _maker(manifest: Mapping[str, Any]) -> str:
    """The program that wrote the manifest, by its own account."""
    names = [one.get("name", "") for one in manifest.get("claim_generator_info") or [] if isinstance(one, dict)]
    return one_line(next(iter(names), "") or manifest.get("claim_generator", ""), 40) or "a program not named"


def _source_types(text: str, where: str) -> Iterator[Finding]:
    for kind in dict.fromkeys(_SOURCE_TYPE.findall(text)):
        if kind in SOURCE_TYPES:
            words, claim = SOURCE_TYPES[kind]
            yield Finding.of("c2pa", f"{where} the source type {kind}: {words}", "", claim)


def _named(manifest: bytes) -> str:
    """The program that a manifest names, found in its bytes."""
    match = _GENERATOR.search(manifest)
    if not match:
        return ""
    size, start = match[1][0] - 0x60, match.end()
    if size == 24:  # the size is in the next byte
        size, start = int.from_bytes(manifest[start : start + 1]), start + 1
    return manifest[start : start + size].decode("utf-8", "replace")


def _validated(data: Buffer, mime: str) -> dict[str, Any] | str | None:
    """The manifest store as c2pa-python gives it; text for why it cannot be read, None without the library."""
    context = _context()
    if context is None:
        return None
    import c2pa

    try:
        with c2pa.Reader(mime, io.BytesIO(data) if isinstance(data, bytes) else data, context=context) as reader:
            text = reader.json()
        store = json.loads(text) if len(text) <= MAX_JSON else f"{len(text)} characters of JSON"
        return store if isinstance(store, (dict, str)) else "not a manifest store"
    except Exception as error:  # a native library on bytes from anywhere; its errors are of many kinds
        return one_line(error, 100) or type(error).__name__


@functools.cache
def _context() -> Any:
    """The settings for every reading, or None without c2pa-python."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError):  # the last two where its native part does not load
        return None
    return c2pa.Context.from_dict(SETTINGS)
