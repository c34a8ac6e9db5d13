"""The field's five test suites and its training split, as data (SPEC section 4): folders, protocols, counts, known faults.

In: the name of a folder, in any of its spellings. Out: a `Suite`, or None. Nothing here is needed to read a
folder of one's own; it is what a known suite can be checked against.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SPLITS = ("train", "val", "test")

Counts = tuple[int, int]  # real, fake


@dataclass(frozen=True)
class Suite:
    """A published set of generators, each a folder with 0_real/ and 1_fake/.

    `name` and `generators` are spelt as on disk, `dataset` is what the prepared records are called. Those of
    `with_classes` have class folders in between. `protocol` is the one that its published tables use.
    `counts` are images of a generator and `training` those of a training split, over its `training_classes`;
    what is not in them was not published, or varies from copy to copy. `also` are other names of the folder.
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


def _each(generators: tuple[str, ...], counts: Counts) -> Mapping[str, Counts]:
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
            "The published archives hold more: 20 training classes, of which the field uses 4, and five further test folders "
            "(crn, imle, san, seeingdark, whichfaceisreal) that are not averaged.",
        ),
    ),
    Suite(
        name="GANGen-Detection",
        dataset="gangen_detection",
        generators=_GANGEN,
        source="FreqNet, AAAI 2024, github.com/chuangchuangtan/GANGen-Detection",
        protocol="native",
        counts=_each(_GANGEN, (2_000, 2_000)),
        also=("GANGen",),
        faults=(
            "An early upload was corrupt: NPR's weights reach a mean ACC of 62 on it where 93 is right, with BEGAN, CramerGAN, "
            "InfoMaxGAN, MMDGAN, SNGAN and STGAN at chance.",
            "Some copies hold a tenth generator, GANimation, that is not averaged.",
        ),
    ),
    Suite(
        name="DiffusionForensics",
        dataset="diffusion_forensics",
        generators=("adm", "ddpm", "iddpm", "ldm", "pndm", "sdv1_new", "sdv2", "vqdiffusion"),
        source="DIRE, ICCV 2023, github.com/ZhendongWang6/DIRE, in the re-arrangement published with NPR",
        faults=("The original release has other real images than the re-arrangement: results on the two are not comparable.",),
    ),
    Suite(
        name="UniversalFakeDetect",
        dataset="universal_fake_detect",
        generators=_OJHA,
        source="CVPR 2023, github.com/WisconsinAIVision/UniversalFakeDetect",
        counts=_each(_OJHA, (1_000, 1_000)),
        also=("diffusion_datasets", "Ojha"),
        faults=("In the original archive a folder has one label only: the real images lie in folders of their own, to be shared.",),
    ),
    Suite(
        name="Diffusion1kStep",
        dataset="diffusion1kstep",
        generators=("DALLE", "ddpm", "guided-diffusion", "improved-diffusion", "midjourney"),
        source="published with NPR, CVPR 2024, github.com/chuangchuangtan/NPR-DeepfakeDetection",
    ),
)


def find(name: str) -> Suite | None:
    """The suite that a folder of this name holds; case, "-" and "_" make no difference."""
    return _BY_NAME.get(_plain(name))


def nearest(name: str) -> Suite | None:
    """The suite whose name is most like `name`, for a message; None where none is."""
    close = difflib.get_close_matches(_plain(name), _BY_NAME, n=1)
    return _BY_NAME[close[0]] if close else None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


_BY_NAME = {_plain(name): suite for suite in SUITES for name in (suite.name, suite.dataset, *suite.also)}
