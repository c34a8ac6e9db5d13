"""The format audit: JPEG quality read from the tables, and what formats give away when they do and when they do not."""

import io

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.audit.formats import FEATURES, MIN_PER_LABEL, Format, audit_formats, audit_source, format_of, lucky_ap, separation
from lfm_jax.data.audit.jpeg import quality_of, subsampling_of
from lfm_jax.data.images import opened
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources.drawn import SyntheticSource
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.sources.open import open_tests


def encoded(image, container, **options):
    file = io.BytesIO()
    image.save(file, container, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_quality_a_jpeg_was_saved_with_is_read_from_its_tables(mode, noise):
    for quality in range(1, 101):
        with opened(encoded(noise(16, 16).convert(mode), "JPEG", quality=quality)) as image:
            assert quality_of(image) == (quality, True)


@pytest.mark.parametrize(("preset", "least", "most"), [("low", 80, 95), ("web_low", 30, 60), ("maximum", 85, 100)])
def test_tables_of_another_make_are_recognised_and_placed_on_the_scale(preset, least, most, noise):
    with opened(encoded(noise(16, 16), "JPEG", quality=preset)) as image:
        quality, ijg = quality_of(image)
    assert not ijg and least <= quality <= most


def test_one_table_off_by_one_is_not_ijg(noise):
    with opened(encoded(noise(16, 16), "JPEG", quality=80)) as image:
        tables = [list(image.quantization[index]) for index in (0, 1)]
    tables[1][5] += 1
    with opened(encoded(noise(16, 16), "JPEG", qtables=tables)) as image:
        assert quality_of(image) == (80, False)


@pytest.mark.parametrize("container", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_containers_have_no_quality(container, noise):
    with opened(encoded(noise(16, 16), container)) as image:
        assert (quality_of(image), subsampling_of(image)) == ((None, False), "")


@pytest.mark.parametrize(("option", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_the_subsampling_of_a_jpeg_is_named(option, name, noise):
    with opened(encoded(noise(16, 16), "JPEG", subsampling=option)) as image:
        assert subsampling_of(image) == name


def test_a_format_is_read_without_decoding(noise, monkeypatch):
    data = encoded(noise(10, 20), "JPEG", quality=77)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with opened(data) as image:
        assert format_of(image, len(data)) == Format("JPEG", 77, True, "4:2:0", "RGB", 20, 10, len(data))


def formats(count, seed, *, container="JPEG", quality=(70, 96), side=(200, 400), size=(20_000, 60_000)):
    """Formats drawn from the same distribution unless told otherwise."""
    rng = np.random.default_rng(seed)
    jpeg = container == "JPEG"
    draws = zip(rng.integers(*quality, count), rng.integers(*side, (count, 2)), rng.integers(*size, count), strict=True)
    return [
        Format(container, int(q) if jpeg else None, jpeg, "4:2:0" if jpeg else "", "RGB", int(w), int(h), int(b))
        for q, (w, h), b in draws
    ]


def test_without_bias_the_ap_of_format_is_the_share_of_fakes():
    for real, fake in ((300, 300), (300, 100)):
        result = audit_formats(formats(real, 0), formats(fake, 1))
        assert result["chance"] == fake / (real + fake)
        assert max(abs(ap - result["chance"]) for ap in result["ap"].values()) < 0.08
        assert result["verdict"].startswith("format is near chance")


BIASES = {
    "container": {"container": "PNG"},
    "quality": {"quality": (96, 98)},
    "size": {"side": (256, 257)},
    "bytes": {"size": (400_000, 800_000)},
}


@pytest.mark.parametrize("feature", BIASES)
def test_a_planted_bias_is_found_by_its_feature_and_named(feature):
    result = audit_formats(formats(120, 0), formats(80, 1, **BIASES[feature]))
    assert result["ap"][feature] > 0.95 and result["ap"]["all"] > 0.95
    telling = {"container": {"container", "quality"}, "size": {"size", "bytes"}, "bytes": {"bytes"}, "quality": {"quality"}}[
        feature
    ]
    for other in set(FEATURES) - telling - {"all"}:
        assert result["ap"][other] < 0.6
    assert "format alone separates real from fake" in result["verdict"] and "without looking at a pixel" in result["verdict"]


def test_a_bias_in_half_of_the_fakes_says_something():
    fakes = formats(100, 1) + formats(100, 2, container="PNG")
    result = audit_formats(formats(200, 0), fakes)
    assert result["luck"] < result["ap"]["container"] < 0.9
    assert result["verdict"].startswith("format says something")


def test_every_image_is_scored_by_a_tree_that_has_not_seen_it():
    """Values that occur only once identify the rows that a tree was fitted on, and say nothing about others."""
    unique = [Format("PNG", None, False, "", "RGB", 100 + i, 100, 10_000) for i in np.random.default_rng(0).permutation(80)]
    assert separation(unique[:40], unique[40:])["size"] < 0.7


def test_the_same_images_give_the_same_figures():
    assert audit_formats(formats(50, 0), formats(40, 1)) == audit_formats(formats(50, 0), formats(40, 1))


def test_too_few_images_give_no_figure():
    result = audit_formats(formats(200, 0), formats(MIN_PER_LABEL - 1, 1, container="PNG"))
    assert result["ap"] is None and result["luck"] is None
    assert result["verdict"].startswith("too few")
    assert audit_formats([], formats(3, 0))["real"]["pixels"] is None


def test_luck_is_what_one_guess_in_twenty_exceeds():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(5)
    for real, fake in ((20, 20), (60, 15)):
        labels = np.repeat([0, 1], [real, fake])
        guesses = [average_precision_score(labels, rng.random(real + fake)) for _ in range(300)]
        assert 0.01 < np.mean(np.array(guesses) > lucky_ap(real, fake)) < 0.1
    assert lucky_ap(50_000, 50_000) < 0.55


def test_the_summary_counts_every_format():
    images = [
        *formats(3, 0, quality=(75, 76), side=(256, 257), size=(65536, 65537)),
        *formats(1, 1, container="PNG", side=(100, 101)),
    ]
    real = audit_formats(images, [])["real"]
    assert real["images"] == 4
    assert real["containers"] == {"JPEG": 3, "PNG": 1}
    assert real["quality"] == {"75": 3, "none": 1}
    assert real["sizes"] == {"256x256": 3, "100x100": 1}
    assert real["pixels"] == [10_000, 65_536, 65_536] and real["aspect"] == [1, 1, 1]
    assert real["bytes_per_pixel"][1] == pytest.approx(1.0, abs=0.0001)


@pytest.fixture
def folder(noise, tmp_path):
    """Suite S: gan_a has JPEG reals and PNG fakes, gan_b all PNG and a broken file; suite T: gan_c of one fake."""
    root = tmp_path / "root"
    suffixes = {"S/gan_a/0_real": "jpg", "S/gan_a/1_fake": "png", "S/gan_b/0_real": "png", "S/gan_b/1_fake": "png"}
    for group, suffix in suffixes.items():
        (root / group).mkdir(parents=True)
        for index in range(12):
            noise(16, 20, seed=index).save(root / group / f"{index}.{suffix}")
    (root / "S/gan_b/0_real/broken.png").write_bytes(b"")
    (root / "T/gan_c/1_fake").mkdir(parents=True)
    noise(16, 20).save(root / "T/gan_c/1_fake/0.webp")
    return root


def test_generators_are_audited_one_by_one_and_pooled(folder):
    rows = {(row["level"], row["suite"], row["generator"]): row for row in audit_source(open_folder(folder))}
    assert list(rows) == [
        *(("generator", "S", "gan_a"), ("generator", "S", "gan_b"), ("generator", "T", "gan_c")),
        *(("suite", "S", "all"), ("overall", "all", "all")),
    ]
    gan_a, gan_b, gan_c, suite, overall = rows.values()
    assert gan_a["ap"]["container"] == 1
    assert gan_b["ap"]["container"] < 0.6
    assert gan_c["ap"] is None
    assert (gan_b["real"]["images"], gan_c["fake"]["containers"]) == (12, {"WEBP": 1})
    assert suite["real"]["containers"] == {"JPEG": 12, "PNG": 12}
    assert overall["fake"]["images"] == 25


def test_prepared_records_are_audited_like_the_files_they_were_made_from(folder, tmp_path):
    (folder / "S/gan_b/0_real/broken.png").unlink()
    prepare_folder(folder, tmp_path / "out")
    assert audit_source(open_tests(tmp_path / "out")) == audit_source(open_folder(folder))


def test_images_that_were_drawn_have_no_format():
    assert audit_source(SyntheticSource("test", size=4, side=32, seed=0)) == []
