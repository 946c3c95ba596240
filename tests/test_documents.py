"""What README.md, CONTRIBUTING.md and CITATION.cff name exists, and says the same as the package."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import lpsgld
from lpsgld.bnn.judging import published, records

RECORDED = "cifar10-jpeg-w16-"
ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("lpsgld", "notebooks", "examples", "tests", "benchmarks")
ENDINGS = ("py", "ipynb", "yaml", "yml", "toml", "md", "txt", "cff")
GIVEN_BY_THE_READER = {"out.ipynb", "NN_name.ipynb", "mine.py"}


def named_paths(text: str) -> set[str]:
    """Links within the repository, paths that begin with one of its folders, and names of files in backquotes."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    paths = re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w/?", text)
    files = re.findall(rf"[\w./-]+\.(?:{'|'.join(ENDINGS)})\b", " ".join(re.findall(r"`([^`\n]+)`", text)))
    return {path.rstrip("/") for path in (*links, *paths, *files)} - GIVEN_BY_THE_READER


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_path_that_is_named_exists(name):
    paths = named_paths((ROOT / name).read_text(encoding="utf-8"))
    missing = [path for path in sorted(paths) if not (ROOT / path).exists() and not (ROOT / "lpsgld" / path).exists()]
    assert len(paths) > 10 and not missing


def test_a_path_that_is_missing_would_be_found():
    text = "See `gone.py`, [this](lost.md), tests/nowhere/test_it.py and [that](https://example.org/x.md)."
    assert named_paths(text) == {"gone.py", "lost.md", "tests/nowhere/test_it.py"}


def test_the_python_of_the_readme_runs_and_says_what_it_gives(tmp_path, monkeypatch):
    """All blocks in one session, as a reader would paste them. `...  # 2.66 instead of 1` must be 2.66."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    session, promised = {}, []
    for block in blocks:
        exec(compile(block, "README.md", "exec"), session)
        promised += re.findall(r"^(\S.*)  # (\d+\.\d+) ", block, re.M)
    assert len(blocks) >= 3 and promised
    for expression, number in promised:
        assert f"{eval(expression, session):.2f}" == number


def test_the_readmes_table_of_real_images_is_what_was_recorded():
    """Each row: the recipe; error, NLL and ECE of the average; error and NLL of the last network; published error."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*?`(sgl?d_\w+)`.*? \| (.+) \|$", text, re.M)
    recorded = records.read_all(ROOT / "notebooks" / "recorded", f"{RECORDED}*.json")
    assert sorted(name for name, _ in rows) == sorted(name.removeprefix(RECORDED) for name in recorded)
    for name, shown in rows:
        record = recorded[RECORDED + name]
        both, last = record.scores["ensemble"], record.scores["last_sample"]
        known = published.of(published.row_of(record.recipe))
        assert shown.split(" | ") == [
            f"{100 * both['error']:.2f} %",
            f"{both['nll']:.3f}",
            f"{100 * both['ece']:.1f} %",
            f"{100 * last['error']:.2f} %",
            f"{last['nll']:.3f}",
            f"{known[0].error:.2f} %",
        ]


def test_the_citation_is_of_this_version_and_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["message"] and all("name" in author for author in citation["authors"])
    assert citation["title"].startswith(project["name"])
    assert (citation["version"], citation["license"]) == (lpsgld.__version__, project["license"])
    assert citation["keywords"] == project["keywords"]
    (paper,) = citation["references"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["type"] == "conference-paper" and paper["year"] == 2022
    assert [author["family-names"] for author in paper["authors"]] == ["Zhang", "Wilson", "De Sa"]
    assert paper["url"] in readme
