"""What XMP says of an image's origin: the source type of the IPTC vocabulary, the tool, and labels that laws ask for."""

from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from lfm_jax.data.provenance.base import CAMERA, GENERATED, Finding
from lfm_jax.data.provenance.generators import aigc_finding, credit_in, generator_in

# Of https://cv.iptc.org/newscodes/digitalsourcetype: what each says, and what that claims.
SOURCE_TYPES = {
    "trainedAlgorithmicMedia": ("made by a generative model", GENERATED),
    "compositeWithTrainedAlgorithmicMedia": ("made in part, or edited, by a generative model", GENERATED),
    "compositeSynthetic": ("composed of elements some of which are synthetic", GENERATED),
    "algorithmicMedia": ("made by an algorithm", GENERATED),
    "digitalCapture": ("captured by a digital camera", CAMERA),
    "computationalCapture": ("captured by a digital camera and merged from several exposures", CAMERA),
    "negativeFilm": ("digitised from film", CAMERA),
    "positiveFilm": ("digitised from film", CAMERA),
    "algorithmicallyEnhanced": ("enhanced by an algorithm", ""),
    "humanEdits": ("edited by a person", ""),
    "compositeCapture": ("composed of several captures", ""),
    "composite": ("composed of several elements", ""),
    "digitalCreation": ("drawn by a person with software", ""),
    "digitalArt": ("drawn by a person with software", ""),
    "virtualRecording": ("recorded from a virtual event", ""),
    "screenCapture": ("a picture of a screen", ""),
    "print": ("digitised from a print", ""),
}
MAX_VALUES = 64


def xmp_findings(content: bytes) -> Iterator[Finding]:
    """The findings in an XMP packet; one that is not readable XML is named. Entities are never expanded."""
    try:
        values = list(_values(content.strip(b"\0 ")))
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        yield Finding.of("xmp", f"cannot be read: {type(error).__name__}")
        return
    for name, value in values[:MAX_VALUES]:
        if name == "DigitalSourceType":
            kind = value.rstrip("/").rsplit("/", 1)[-1]
            words, claim = SOURCE_TYPES.get(kind, ("a source type that is not known here", ""))
            yield Finding.of("xmp", f"DigitalSourceType {kind}: {words}", value, claim)
        elif name in ("AISystemUsed", "AIPromptInformation"):
            yield Finding.of("xmp", f"{name}: made with a generative model", value, GENERATED)
        elif name == "AIGC":
            yield aigc_finding("xmp", value)
        elif name == "provenance" and value.startswith("http"):
            yield Finding.of("xmp", "content credentials (C2PA) are kept elsewhere and were not fetched", value)
        elif name == "Credit" and (credit := credit_in(value)):
            yield Finding.of("xmp", f"credit: {credit}", value, GENERATED)
        elif name == "CreatorTool" and (generator := generator_in(value)):
            yield Finding.of("xmp", f"{name} names {generator}, a generator", value, GENERATED)
        elif name == "CreatorTool":
            yield Finding.of("xmp", f"written by {value}", value)


def _values(content: bytes) -> Iterator[tuple[str, str]]:
    """(name without its namespace, value) of the attributes and the leaves of an XMP packet."""
    for element in fromstring(content).iter():
        name = _plain(element.tag)
        for attribute, value in element.items():
            # <Iptc4xmpExt:DigitalSourceType rdf:resource="..."/>, or rdf:Description's Iptc4xmpExt:DigitalSourceType="..."
            yield (name if _plain(attribute) == "resource" else _plain(attribute)), value.strip()
        if element.text and element.text.strip():
            yield name, element.text.strip()


def _plain(name: object) -> str:
    return name.rsplit("}", 1)[-1] if isinstance(name, str) else ""
