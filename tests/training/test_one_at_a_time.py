"""What keeps a run whole: one training per workdir, processes that agree, and Ctrl-C that saves."""

import os
import signal

import pytest

from lfm_jax.errors import ConfigError, PreemptedError, UserError
from lfm_jax.runtime import distributed
from lfm_jax.runtime.distributed import StopNotice, require_agreement
from lfm_jax.runtime.storage import locked
from lfm_jax.training import run as run_module
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.training import signal_in_step, small_config


@pytest.fixture
def another_process(monkeypatch):
    """another_process(**facts): from now on a second process has these facts instead of ours."""

    def start(**facts):
        def gather(value):
            return [value, {name: facts.get(name, ours) for name, ours in value.items()}]

        monkeypatch.setattr(distributed, "gather", gather)

    return start


def test_a_workdir_in_which_another_training_is_at_work_is_refused(data_root, tmp_path):
    with locked(tmp_path / "run", "lfm train"):
        (tmp_path / "run" / "metrics.jsonl").write_text("")
        with pytest.raises(UserError, match=r"--workdir: another lfm train is at work in .*run"):
            train_and_evaluate(small_config(data_root), tmp_path / "run")
        assert not (tmp_path / "run" / "config.json").exists()
    with locked(tmp_path / "run", "lfm train"):  # free again
        pass


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_workdir_that_is_a_file_is_refused(data_root, tmp_path, name):
    (tmp_path / "file").write_text("notes")
    with pytest.raises(UserError, match=r"--workdir: .*file.* is a file, or lies in one"):
        train_and_evaluate(small_config(data_root), tmp_path / name)
    assert (tmp_path / "file").read_text() == "notes"


def test_processes_of_different_configs_are_refused_naming_the_fields(data_root, tmp_path, another_process):
    another_process(**{"config.seed": 1, "config.optim.lr": 0.5, "jax": "0.1"})
    with pytest.raises(ConfigError) as refused:
        train_and_evaluate(small_config(data_root), tmp_path)
    for difference in ("config.seed: 0 and 1", "config.optim.lr: 0.01 and 0.5", "and '0.1'"):
        assert difference in str(refused.value)


def test_processes_that_find_different_images_are_refused(data_root, tmp_path, another_process):
    another_process(**{"number of training images": 39, "training images": "00"})
    with pytest.raises(ConfigError, match=r"differ in the data they find.*\n  number of training images: 40 and 39"):
        train_and_evaluate(small_config(data_root), tmp_path)


def test_processes_may_find_their_data_in_different_places(data_root, another_process):
    assert "data.root" in run_module.OF_ONE_HOST
    another_process()
    require_agreement({"seed": 1}, "what they train")


def test_the_first_ctrl_c_saves_and_the_second_ends(data_root, tmp_path, monkeypatch, capsys):
    after = StopNotice.after
    signal_in_step(monkeypatch, 3, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(PreemptedError, match="a checkpoint of step 3 is saved"):
        train_and_evaluate(small_config(data_root), tmp_path)
    assert "saving after this step; Ctrl-C once more" in capsys.readouterr().err
    assert (tmp_path / "checkpoints" / "last" / "3" / "weights").is_dir()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    with pytest.raises(KeyboardInterrupt), StopNotice() as notice:
        os.kill(os.getpid(), signal.SIGINT)
        assert after(notice, 1)
        os.kill(os.getpid(), signal.SIGINT)
