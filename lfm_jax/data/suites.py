"""The five test suites that the field reports on, and its training split, as data: what they should hold, known faults.

A suite is found by the name of its folder, in any spelling. It is what a copy on disk can be checked against; folders
of other names are read just as well. docs/data.md has the same as a table.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SPLITS = ("train", "val", "test")

Counts = tuple[int, int]  # real, fake


@dataclass(frozen=True)
class Suite:
    """A published set of generators, each of which is a folder with 0_real/ and 1_fake/.

    Attributes:
      name: of the folder, as spelt on disk.
      dataset: the name of the prepared records.
      generators: their folders, as spelt on disk.
      source: where it was published.
      protocol: the evaluation protocol of its published tables.
      with_classes: the generators that have class folders between the generator and the labels.
      counts: real and fake images of a generator. One that is missing was not published, or varies from copy to copy.
      training: real and fake images of a training split, over its `training_classes`.
      training_classes: those that the field trains on.
      training_generator: what made the fakes of the training splits.
      also: other names of the folder.
      faults: what users of the suite have run into before.
    """

    name: str
    dataset: str
    generators: tuple[str, ...]
    source: str
    protocol: str = "resize256"
    with_classes: tuple[str, ...] = ()
    counts: Mapping[str, Counts] = field(default_factory=dict)
    training: Mapping[str, Counts] = field(default_factory=dict)
    training_classes: tuple[str, ...] = ()
    training_generator: str = ""
    also: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def _same_counts(generators: tuple[str, ...], counts: Counts) -> Mapping[str, Counts]:
    return MappingProxyType(dict.fromkeys(generators, counts))


_GANGEN = ("AttGAN", "BEGAN", "CramerGAN", "InfoMaxGAN", "MMDGAN", "RelGAN", "S3GAN", "SNGAN", "STGAN")
_OJHA = ("dalle", "glide_100_10", "glide_100_27", "glide_50_27", "guided", "ldm_100", "ldm_200", "ldm_200_cfg")

SUITES: tuple[Suite, ...] = (
    Suite(
        name="ForenSynths",
        dataset="forensynths",
        generators=("biggan", "cyclegan", "deepfake", "gaugan", "progan", "stargan", "stylegan", "stylegan2"),
        source="CNNDetection, CVPR 2020, github.com/PeterWang512/CNNDetection: its GAN and deepfake folders",
        with_classes=("cyclegan", "progan", "stylegan", "stylegan2"),
        training=MappingProxyType({"train": (72_012, 72_012), "val": (800, 800)}),
        training_classes=("car", "cat", "chair", "horse"),
        training_generator="progan",
        also=("ForenSynths_train_val", "CNN_synth_testset"),
        faults=(
            "The published archives hold more: 20 training classes, of which the field uses 4, and five more test folders "
            "(crn, imle, san, seeingdark, whichfaceisreal), which published means leave out.",
        ),
    ),
    Suite(
        name="GANGen-Detection",
        dataset="gangen_detection",
        generators=_GANGEN,
        source="FreqNet, AAAI 2024, github.com/chuangchuangtan/GANGen-Detection",
        protocol="native",
        counts=_same_counts(_GANGEN, (2_000, 2_000)),
        also=("GANGen",),
        faults=(
            "An early upload was corrupt: NPR's weights reach a mean ACC of 62 on it instead of 93, with BEGAN, CramerGAN, "
            "InfoMaxGAN, MMDGAN, SNGAN and STGAN at chance.",
            "Some copies hold a tenth generator, GANimation, which published means leave out.",
        ),
    ),
    Suite(
        name="DiffusionForensics",
        dataset="diffusion_forensics",
        generators=("adm", "ddpm", "iddpm", "ldm", "pndm", "sdv1_new", "sdv2", "vqdiffusion"),
        source="DIRE, ICCV 2023, github.com/ZhendongWang6/DIRE, in the rearrangement published with NPR",
        faults=("The original release has other real images than the rearrangement: results on the two are not comparable.",),
    ),
    Suite(
        name="UniversalFakeDetect",
        dataset="universal_fake_detect",
        generators=_OJHA,
        source="CVPR 2023, github.com/WisconsinAIVision/UniversalFakeDetect",
        counts=_same_counts(_OJHA, (1_000, 1_000)),
        also=("diffusion_datasets", "Ojha"),
        faults=(
            "In the original archive each folder has one label only: generators share real images kept in folders of their own.",
        ),
    ),
    Suite(
        name="Diffusion1kStep",
        dataset="diffusion1kstep",
        generators=("DALLE", "ddpm", "guided-diffusion", "improved-diffusion", "midjourney"),
        source="published with NPR, CVPR 2024, github.com/chuangchuangtan/NPR-DeepfakeDetection",
    ),
)


def find(name: str) -> Suite | None:
    """The suite that a folder of this name holds, or None. Case, "-" and "_" make no difference."""
    return _BY_NAME.get(_plain(name))


def nearest(name: str) -> Suite | None:
    """The suite that a misspelt name most likely means, or None."""
    close = difflib.get_close_matches(_plain(name), _BY_NAME, n=1)
    return _BY_NAME[close[0]] if close else None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


_BY_NAME = {_plain(name): suite for suite in SUITES for name in (suite.name, suite.dataset, *suite.also)}
