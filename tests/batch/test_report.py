"""The words at the end of a run."""

from lpsgld.batch import notebook
from lpsgld.batch.execution import Result
from lpsgld.batch.report import describe, report, table


def test_the_table_is_aligned_and_a_skipped_notebook_has_no_numbers():
    results = [
        Result("05_variance_correction", "passed", seconds=34.25, peak_mib=612.4, figures=4),
        Result("08_cifar", "skipped", reason="it needs an NVIDIA GPU"),
    ]
    assert table(results).splitlines() == [
        "notebook                status   seconds  peak MiB  figures",
        "----------------------  -------  -------  --------  -------",
        "05_variance_correction  passed      34.2       612        4",
        "08_cifar                skipped        -         -        -",
    ]


def test_the_report_says_what_failed_where_it_is_kept_and_what_to_open(tmp_path):
    results = [
        Result("01_a", "passed", executed=tmp_path / "01_a.ipynb", html=tmp_path / "01_a.html"),
        Result("02_b", "failed", "ValueError: no", "In [3] `f(x)`", executed=tmp_path / "02_b.failed.ipynb"),
        Result("03_c", "skipped", "it needs 02_b, which failed"),
    ]
    text = report(results, tmp_path)
    assert "02_b failed at In [3] `f(x)`:\n    ValueError: no\n" in text
    assert f"kept as {tmp_path / '02_b.failed.ipynb'}" in text
    assert "03_c was skipped: it needs 02_b, which failed" in text
    assert "1 passed, 1 failed, 1 skipped" in text
    assert f"Open next: 01_a.html in {tmp_path}" in text


def test_without_a_pass_there_is_nothing_to_open(tmp_path):
    assert "Open next" not in report([Result("02_b", "failed", "ValueError: no", "In [3] `f(x)`")], tmp_path)


def test_a_notebook_is_described_with_its_parameters(folder):
    folder.notebook("01_a")
    path = folder.notebook("02_b", parameters="width: int = 8  # channels", after=["01_a"], device="cuda")
    assert describe(notebook.read(path)).splitlines() == [
        "02_b: About 02_b",
        "    what is in 02_b?",
        "    after 01_a",
        "    needs cuda",
        "    width  int  = 8  channels",
    ]


def test_a_notebook_without_parameters_is_described_too(folder):
    assert describe(notebook.read(folder.notebook("01_a", parameters=""))).splitlines()[0] == "01_a: About 01_a"
