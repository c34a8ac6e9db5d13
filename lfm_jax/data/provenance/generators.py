"""How programs that generate images sign their files: the names that they write, and the text chunks that only they write."""

import json
import re

from lfm_jax.data.provenance.base import GENERATED, Finding, one_line

# Names as they stand in fields for the program, such as Software. A caption may name a generator and be that of a photo.
_NAMES = re.compile(
    r"stable[ _-]?diffusion|automatic1111|comfyui|invoke ?ai|novelai|midjourney|dall[\W_]?e\b|gpt-4o|gpt-image|openai|chatgpt|"
    r"(?:adobe )?firefly|imagen \d|google gemini|flux\.[12]|black forest labs|fooocus|"
    r"ideogram|leonardo\.ai|bing image creator|draw things|easy diffusion|swarmui|sd\.next|dream ?studio|stability ?ai|seedream|"
    r"dreamina|jimeng|recraft|runwayml|playground ai|nightcafe|\bgrok\b|\bsdxl\b|diffusers|meta ai",
    re.IGNORECASE,
)
_CREDIT = re.compile(r"(?:made|edited|created|generated) with (?:google ai|openai|meta ai|adobe firefly)", re.IGNORECASE)
# Keywords of PNG text chunks, and whose they are.
_KEYWORDS = {
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "Dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "sui_image_params": "SwarmUI",
}
_PROGRAM = ("Software", "Source", "Creation Tool")
_COMFYUI = ('"class_type"', '"last_node_id"', '"nodes"', '"inputs"')
_LABELS = {"1": "generated", "2": "possibly generated", "3": "suspected of being generated"}


def generator_in(text: str) -> str:
    """The name of a generator in a text such as EXIF's Software, "" if there is none."""
    match = _NAMES.search(text[:1000])
    return match[0] if match else ""


def credit_in(text: str) -> str:
    """The sentence by which services credit their generator, "" if there is none."""
    match = _CREDIT.search(text[:1000])
    return match[0] if match else ""


def text_finding(keyword: str, text: str) -> Finding | None:
    """What a text chunk of a PNG says of the image's origin; None if it says nothing of it."""
    if keyword == "AIGC":
        return aigc_finding("png text", text)
    maker = _KEYWORDS.get(keyword) or _maker(keyword, text)
    if maker:
        return Finding.of("png text", f'"{one_line(keyword, 40)}" is written by {maker}', text, GENERATED)
    if keyword in _PROGRAM and (name := generator_in(text)):
        return Finding.of("png text", f"{keyword} names {name}, a generator", text, GENERATED)
    return Finding.of("png text", f"written by {text}", text) if keyword == "Software" and text.strip() else None


def _maker(keyword: str, text: str) -> str:
    if keyword == "parameters":
        if "sui_image_params" in text:
            return "SwarmUI"
        return "a Stable Diffusion tool" if is_parameters(text) or '"steps"' in text else ""
    if keyword in ("prompt", "workflow") and any(mark in text for mark in _COMFYUI):
        return "ComfyUI"
    if keyword == "Description" and re.search(r"Job ID: [0-9a-f]{8}-", text):
        return "Midjourney"
    if keyword == "Comment" and '"sampler"' in text and '"prompt"' in text:
        return "NovelAI"
    return ""


def is_parameters(text: str) -> bool:
    """Whether a text is prompt and settings as Stable Diffusion's web UI and its kin write them: "..., Steps: 20, Sampler: ..."."""
    return "Steps: " in text and ("Sampler: " in text or "CFG scale: " in text)


def aigc_finding(kind: str, text: str) -> Finding:
    """The label that China asks of services that generate images (GB 45438-2025): JSON with Label 1, 2 or 3."""
    try:
        label = json.loads(text)
        value = str(label.get("Label", "")) if isinstance(label, dict) else ""
    except (ValueError, RecursionError):
        value = ""
    return Finding.of(kind, f"AIGC label: {_LABELS.get(value, 'generated content')}", text, GENERATED)
