"""Registries of parts, and the files of users that enter their own."""

import pytest

from lfm_jax.errors import ConfigError, UserError
from lfm_jax.runtime.registry import Registry, import_parts


def test_a_part_is_chosen_by_the_name_it_was_registered_under():
    registry = Registry("pooling", "config.model.pooling.kind")

    @registry.register("mine")
    def mine():
        return 1

    assert registry.choose("mine") is mine
    assert list(registry) == ["mine"]


def test_a_name_that_nobody_registered_says_the_field_the_nearest_name_and_the_way_out():
    registry = Registry("pooling", "config.model.pooling.kind")
    registry.register("topk")(len)
    with pytest.raises(
        ConfigError, match=r"config.model.pooling.kind = 'topc': no such pooling, did you mean 'topk'\?.*--import=FILE.py"
    ):
        registry.choose("topc")


def test_registering_again_replaces_as_notebooks_run_cells_twice():
    registry = Registry("head", "config.model.head.kind")
    registry.register("mine")(len)
    registry.register("mine")(max)
    assert registry.choose("mine") is max


def test_a_file_of_parts_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_parts.py").write_text("VALUE = 3\n")
    (tmp_path / "parts.py").write_text("import neighbour_of_parts\nassert neighbour_of_parts.VALUE == 3\n")
    import_parts(str(tmp_path / "parts.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1\nraise KeyError('gone')\n", r"parts.py, line 2: KeyError: 'gone'"), ("def\n", r"parts.py, line 1: SyntaxError")],
)
def test_a_file_of_parts_that_fails_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "parts.py").write_text(text)
    with pytest.raises(UserError, match=message):
        import_parts(str(tmp_path / "parts.py"))


def test_a_file_that_is_not_there_is_named(lfm):
    ran = lfm("predict", "--import=nowhere.py", "--weights=W", "photo.png")
    assert ran.status == 2
    assert "--import=nowhere.py: no such file" in ran.err
