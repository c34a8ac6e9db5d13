"""`lfm evaluate`: the table on stdout, the files in --out, and each image decoded once."""

import re

from lfm_jax.data.sources import folder
from lfm_jax.runtime import distributed


def test_evaluate_prints_the_table_and_writes_the_files(lfm, weights_file, labelled_folder, tmp_path):
    ran = lfm(
        "evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native,crop64", "--out", tmp_path / "out"
    )
    assert (ran.status, ran.err) == (0, f"lfm evaluate: report: {tmp_path / 'out'}/report.html\n")
    assert ran.out == (tmp_path / "out/table.md").read_text()
    rows = [re.sub(r"\||\[.*?\]", "", line).split() for line in ran.out.splitlines()[2:]]
    expected = [["gan_a", "2", "2", "75.0", "100.0", "50.0"], ["gan_b", "4", "3", "100.0", "100.0", "100.0"]]
    expected += [["mean", "6", "5", "87.5", "100.0", "75.0"], ["pooled", "6", "5", "90.9", "100.0", "80.0"]]
    assert [row[:8] for row in rows] == [[protocol, "suite", *row] for protocol in ("native", "crop64") for row in expected]


def test_evaluate_without_out_writes_nothing(lfm, weights_file, labelled_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native").status == 0
    assert list(tmp_path.iterdir()) == []


def test_evaluate_names_what_it_could_not_score_and_gives_status_3(lfm, weights_file, noise, tmp_path):
    for label in ("0_real", "1_fake"):
        (tmp_path / "gan_a" / label).mkdir(parents=True)
        noise(64, 64).save(tmp_path / "gan_a" / label / "1.png")
    (tmp_path / "gan_a/1_fake/0.png").write_text("not a picture")
    ran = lfm("evaluate", "--weights", weights_file, "--data", tmp_path, "--protocol", "native")
    assert ran.status == 3
    assert re.search(r"1 could not be scored:\n +gan_a/1_fake/0\.png: not an image", ran.err)
    assert "gan_a" in ran.out


def test_evaluate_takes_views_and_the_robustness_grid(lfm, weights_file, labelled_folder):
    args = ("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native")
    table = lfm(*args, "--views", "native,fakes_q96").out
    assert {line.split("|")[2].strip() for line in table.splitlines()[2:]} == {"as_is", "fakes_q96"}
    ran = lfm(*args, "--views", "native,all_q960")
    assert ran.status == 2
    assert "unknown view 'all_q960'" in ran.err


def test_evaluate_decodes_an_image_once_for_all_its_cells(lfm, weights_file, labelled_folder, monkeypatch):
    decoded, decode = [], folder.decode
    monkeypatch.setattr(folder, "decode", lambda path: decoded.append(path) or decode(path))
    args = ("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol=native,crop48", "--views=native,all_q75")
    once = lfm(*args)
    assert len(decoded) == len(set(decoded)) == 11
    assert lfm(*args, "--keep_mib=0").out == once.out
    assert len(decoded) == 11 + 4 * 11


def test_evaluate_takes_several_weights(lfm, weights_file, labelled_folder):
    ran = lfm("evaluate", "--weights", weights_file, "--weights", weights_file, "--data", labelled_folder, "--protocol", "native")
    assert ran.status == 0
    assert ran.out.splitlines()[-1].split("|")[2].strip() == "mean of 2"
    assert "± 0.0" in ran.out.splitlines()[-1]


def test_processes_that_would_score_different_things_are_refused_naming_them(lfm, weights_file, labelled_folder, monkeypatch):
    """Their shares would be put together all the same. A second process is made up that has other weights and a file more."""
    monkeypatch.setattr(distributed, "gather", lambda ours: [ours, {**ours, "weights": ["0" * 64], "number of images": 12}])
    ran = lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native")
    assert (ran.status, ran.out) == (2, "")
    assert "processes 0 and 1 differ in what they are to evaluate; start all of them alike:" in ran.err
    assert "number of images: 11 and 12" in ran.err and "weights: [" in ran.err and "--protocol" not in ran.err
