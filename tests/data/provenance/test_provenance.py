"""What files say about where they came from: the tools, cameras and credentials that people meet, in each container."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lfm_jax.data.provenance import CAMERA, GENERATED, NOTHING, provenance_of, read_image
from tests.helpers.without import run_without

PARAMETERS = "a cat on a sofa\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TEXTS = {
    "parameters": PARAMETERS,
    "prompt": json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}),
    "workflow": json.dumps({"last_node_id": 9, "nodes": [{"id": 1}]}),
    "invokeai_metadata": json.dumps({"positive_prompt": "a cat"}),
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V4 37C2B166",
    "Comment": json.dumps({"prompt": "a cat", "steps": 28, "sampler": "k_euler"}),
    "Description": "a cat --ar 3:2 Job ID: 0f3c2a1b-1111-2222-3333-444455556666",
    "AIGC": json.dumps({"Label": "1", "ContentProducer": "somebody"}),
}


def xmp(body="", attributes=""):
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:dcterms="http://purl.org/dc/terms/" {attributes}>{body}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def camera_exif(**more):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON CORPORATION", "NIKON D800"
    exif.get_ifd(0x8769)[0x9003] = "2018:11:16 22:07:00"
    for tag, value in more.items():
        exif[int(tag[1:], 16)] = value
    return exif.tobytes()


def comment_exif(text, encoding="utf-16-be"):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode(encoding)
    return exif.tobytes()


@pytest.fixture
def file(noise):
    """file("JPEG", exif=...) -> the bytes of an image with that metadata."""

    def save(container, **options):
        if container == "HEIF":
            pytest.importorskip("pillow_heif").register_heif_opener()
        data = io.BytesIO()
        noise(64, 64).save(data, container, **options)
        return data.getvalue()

    return save


def png_text(**chunks):
    info = PngInfo()
    for keyword, text in chunks.items():
        info.add_text(keyword, text)
    return info


@pytest.mark.parametrize(("keyword", "text"), TEXTS.items(), ids=TEXTS)
def test_text_that_only_generators_write_into_a_png_is_recognised(keyword, text, file):
    provenance = provenance_of(file("PNG", pnginfo=png_text(**{keyword: text})))
    assert provenance.claim == GENERATED
    (finding,) = provenance.findings
    assert finding.kind == "png text"
    assert finding.excerpt.startswith(text[:15])


@pytest.mark.parametrize("add", ["add_text", "add_itxt"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_is_read_from_every_kind_of_chunk(add, packed, file):
    info = PngInfo()
    getattr(info, add)("parameters", PARAMETERS, zip=packed)
    assert provenance_of(file("PNG", pnginfo=info)).claim == GENERATED


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_camera_is_named_with_the_date(container, file):
    provenance = provenance_of(file(container, exif=camera_exif()))
    assert provenance.claim == CAMERA
    assert [one.says for one in provenance.findings] == ["taken with NIKON CORPORATION NIKON D800 on 2018:11:16 22:07:00"]


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_parameters_in_the_comment_of_a_jpeg_are_recognised_in_either_byte_order(encoding, file):
    provenance = provenance_of(file("JPEG", exif=comment_exif(PARAMETERS, encoding)))
    assert provenance.claim == GENERATED
    assert provenance.findings[0].excerpt.startswith("a cat on a sofa Negative prompt: dog Steps: 20")


SOURCE_TYPES = {
    "trainedAlgorithmicMedia": GENERATED,
    "compositeWithTrainedAlgorithmicMedia": GENERATED,
    "digitalCapture": CAMERA,
    "humanEdits": NOTHING,
    "somethingNew": NOTHING,
}


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize(("kind", "claim"), SOURCE_TYPES.items(), ids=SOURCE_TYPES)
def test_the_source_type_of_iptc_is_read(kind, claim, container, file):
    options = {"xmp": xmp(attributes=f'e:DigitalSourceType="{IPTC}{kind}"')}
    if container == "PNG":
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp(attributes=f'e:DigitalSourceType="{IPTC}{kind}"').decode())
    provenance = provenance_of(file(container, **options))
    assert provenance.claim == claim
    assert [one.kind for one in provenance.findings] == ["xmp"]
    assert kind in provenance.findings[0].says


BODIES = {
    "element": (f"<e:DigitalSourceType>{IPTC}trainedAlgorithmicMedia</e:DigitalSourceType>", GENERATED),
    "resource": (f'<e:DigitalSourceType rdf:resource="{IPTC}trainedAlgorithmicMedia"/>', GENERATED),
    "credit": ("<photoshop:Credit>Made with Google AI</photoshop:Credit>", GENERATED),
    "tool": ("<xmp:CreatorTool>Adobe Firefly</xmp:CreatorTool>", GENERATED),
    "system": ("<e:AISystemUsed>Some Model 3</e:AISystemUsed>", GENERATED),
    "editor": ("<xmp:CreatorTool>Adobe Photoshop 25.0</xmp:CreatorTool>", NOTHING),
    "elsewhere": ("<dcterms:provenance>https://example.com/m.c2pa</dcterms:provenance>", NOTHING),
}


@pytest.mark.parametrize(("body", "claim"), BODIES.values(), ids=BODIES)
def test_xmp_is_read_however_it_is_written(body, claim, file):
    provenance = provenance_of(file("JPEG", xmp=xmp(body)))
    assert (provenance.claim, len(provenance.findings)) == (claim, 1)


def test_a_caption_that_names_a_generator_does_not_make_a_photo_generated(file):
    caption = "The head of OpenAI shows Midjourney and Stable Diffusion"
    photo = file("JPEG", exif=camera_exif(x010E=caption), comment=caption.encode())
    assert provenance_of(photo).claim == CAMERA
    assert provenance_of(file("PNG", pnginfo=png_text(Description=caption, Title=caption, Comment=caption))).claim == NOTHING


def test_both_are_told_and_generated_wins(file):
    """A photograph that a generator was given to change."""
    provenance = provenance_of(file("PNG", exif=camera_exif(), pnginfo=png_text(parameters=PARAMETERS)))
    assert provenance.claim == GENERATED
    assert {one.claim for one in provenance.findings} == {GENERATED, CAMERA}


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_a_file_without_metadata_says_nothing(container, file):
    assert provenance_of(file(container)) == provenance_of(b"")
    assert provenance_of(b"").line() == "says nothing"


def test_the_comment_of_a_gif_is_read_in_all_its_parts_and_behind_other_extensions(file):
    data = file("GIF", comment=("a cat, " * 100 + PARAMETERS).encode())  # of several parts, each with its size before it
    padded = data.replace(b"!\xfe", b"!\xff\x0bSOMETHING10\x03abc\x00!\xfe", 1)
    for variant in (data, padded):
        assert provenance_of(variant).claim == GENERATED
    for end in range(len(padded)):  # cut anywhere, it says as much as is there
        provenance_of(padded[:end])


def test_an_image_comes_with_its_provenance_from_a_path_and_without_from_pixels(file, tmp_path, noise):
    (tmp_path / "a.png").write_bytes(file("PNG", pnginfo=png_text(parameters=PARAMETERS)))
    image, provenance = read_image(str(tmp_path / "a.png"))
    assert (image.size, provenance.claim) == ((64, 64), GENERATED)
    assert read_image(noise(64, 64))[1] is None
    assert read_image(np.asarray(noise(64, 64)))[1] is None
    assert json.loads(json.dumps(dataclasses.asdict(provenance)))["claim"] == GENERATED


@pytest.fixture
def signed():
    pytest.importorskip("c2pa")
    from tests.helpers.credentials import signed

    return signed


@pytest.mark.parametrize(
    ("container", "mime"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
        ("GIF", "image/gif"),
        ("TIFF", "image/tiff"),
    ],
)
def test_content_credentials_are_checked_with_their_signer_and_generator(container, mime, file, signed):
    provenance = provenance_of(
        signed(file(container), mime, source_type="trainedAlgorithmicMedia", generator="Gen 1", signer="Firm")
    )
    assert provenance.claim == GENERATED
    manifest, source = provenance.findings
    assert (
        manifest.says == "manifest signed by Firm, written by Gen 1: file unchanged since; who the signer really is was not checked"
    )
    assert "trainedAlgorithmicMedia" in source.says


def test_credentials_that_do_not_match_claim_nothing_and_are_named(file, signed):
    data = bytearray(signed(file("PNG"), "image/png", source_type="digitalCapture"))
    data[-20] ^= 1
    provenance = provenance_of(bytes(data))
    assert provenance.claim == NOTHING
    assert "does NOT match" in provenance.findings[0].says


def test_without_the_extra_a_manifest_is_found_and_the_extra_named(file, signed, tmp_path):
    data = signed(file("JPEG"), "image/jpeg", source_type="trainedAlgorithmicMedia", generator="Gen 1")
    (tmp_path / "a.jpg").write_bytes(data)
    code = """
from pathlib import Path
from lfm_jax.data.provenance import provenance_of
provenance = provenance_of(Path(sys.argv[1]).read_bytes())
print(json.dumps([provenance.claim, *([one.says, one.excerpt] for one in provenance.findings)]))
"""
    claim, present, source = json.loads(run_without(["c2pa"], code, tmp_path / "a.jpg"))
    assert claim == GENERATED
    assert "pip install 'lfm_jax[c2pa]'" in present[0]
    assert present[1] == "Gen 1"
    assert "unchecked" in source[0]
