"""Folders of images whose logits are chosen, for evaluation and calibration."""

import pytest

from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.evaluate import evaluate_network


@pytest.fixture(scope="module")
def fill(save_with_logit):
    """fill(root, {"gan_a": (logits of reals, logits of fakes), ...}) -> root, of images with these logits."""

    def build(root, groups):
        for group, labels in groups.items():
            for label, logits in zip(("0_real", "1_fake"), labels, strict=True):
                for index, logit in enumerate(logits):
                    save_with_logit(root / group / label / f"{index}.png", logit)
        return root

    return build


@pytest.fixture
def folder(tmp_path, fill):
    """folder(groups) -> a root with the images of `fill`."""
    return lambda groups: fill(tmp_path / "root", groups)


@pytest.fixture
def evaluated(folder, given_logits):
    """evaluated(groups, protocols=...) -> Evaluation of these images."""
    return lambda groups, protocols=("native",): evaluate_network(given_logits, open_folder(folder(groups)), protocols)


@pytest.fixture
def images(save_with_logit):
    """images(root) -> root, with two reals and two fakes that `given_logits` separates between 3 and 5."""

    def build(root):
        for name, logit in {"0_real/a": -2, "0_real/b": 3, "1_fake/a": 5, "1_fake/b": 6}.items():
            save_with_logit(root / "gan" / f"{name}.png", logit)
        return root

    return build


@pytest.fixture
def prepared(images, tmp_path):
    """prepared(folder of images, ...) -> what `lfm data prepare` makes of them."""

    def make(*places):
        for place in places:
            images(tmp_path / "data" / place)
        prepare_folder(tmp_path / "data", tmp_path / "out")
        return tmp_path / "out"

    return make
