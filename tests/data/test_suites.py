"""The five suites: found by the names of their folders however spelt, and complete as published."""

import pytest

from lfm_jax.data import suites
from lfm_jax.data.suites import SUITES


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("ForenSynths", "ForenSynths"),
        ("forensynths", "ForenSynths"),
        ("ForenSynths_train_val", "ForenSynths"),
        ("GANGen", "GANGen-Detection"),
        ("gangen_detection", "GANGen-Detection"),
        ("GANGEN-DETECTION", "GANGen-Detection"),
        ("diffusion-forensics", "DiffusionForensics"),
        ("universal_fake_detect", "UniversalFakeDetect"),
        ("diffusion_1k_step", "Diffusion1kStep"),
    ],
)
def test_a_suite_is_found_by_its_folder_however_spelt(spelling, name):
    assert suites.find(spelling).name == name


def test_other_folders_are_not_suites():
    assert not any(suites.find(name) for name in ("", "test", "photos", "progan", "ForenSynth"))
    assert suites.nearest("ForenSynth").name == "ForenSynths"
    assert suites.nearest("zzzz") is None


def test_known_counts_are_the_published_ones():
    by_name = {suite.name: suite for suite in SUITES}
    assert by_name["ForenSynths"].training == {"train": (72_012, 72_012), "val": (800, 800)}
    assert set(by_name["GANGen-Detection"].counts.values()) == {(2_000, 2_000)}
    assert set(by_name["UniversalFakeDetect"].counts.values()) == {(1_000, 1_000)}
    assert [len(suite.generators) for suite in SUITES] == [8, 9, 8, 8, 5]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_classes_and_counts_are_given_for_generators_of_the_suite(suite):
    assert set(suite.with_classes) <= set(suite.generators)
    assert set(suite.counts) <= set(suite.generators)
