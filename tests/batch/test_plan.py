"""Everything that can be wrong with a request is found before anything runs."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lpsgld.batch import notebook, plan
from lpsgld.batch.errors import BatchError


@pytest.fixture
def two(folder):
    """Two sound notebooks and a profile for them."""
    folder.notebook("01_first")
    folder.notebook("02_second", after=["01_first"])
    folder.profile("smoke", **{"02_second": {"seed": 2, "timeout": 5}, "01_first": {"smoke": True}})
    return folder


def refusal(folder, match, profile="smoke", selected=(), overrides=None):
    with pytest.raises(BatchError, match=match):
        plan.build(folder.path, profile, selected, overrides)


def test_a_plan_holds_the_profile_in_the_order_of_the_notebooks(two):
    first, second = plan.build(two.path, "smoke", overrides={"02_second": {"live": False}})
    assert (first.name, first.parameters, first.timeout, first.smoke) == ("01_first", {"smoke": True}, 60.0, True)
    assert (second.parameters, second.timeout, second.smoke) == ({"seed": 2, "live": False}, 5.0, False)
    assert second.notebook.after == ("01_first",)
    assert second.notebook.question == "what is in 02_second?"


@pytest.mark.parametrize("text", ["02_second", "02", "notebooks/02_second.ipynb"])
def test_a_notebook_is_found_by_name_number_or_path(two, text):
    (job,) = plan.build(two.path, "smoke", [text])
    assert job.name == "02_second"


def test_overrides_take_precedence_and_settings_are_typed(two):
    overrides = plan.parse_settings(["02.seed=7", "02_second.live=false"], two.path)
    assert overrides == {"02_second": {"seed": 7, "live": False}}
    assert plan.build(two.path, "smoke", ["02"], overrides)[0].parameters == {"seed": 7, "live": False}


def test_unknown_names_are_refused_with_the_nearest(two):
    refusal(two, 'there is no notebook .01_frist.: .*Did you mean "01_first"', selected=["01_frist"])
    refusal(two, 'there is no profile .smok.: choose from smoke. Did you mean "smoke"', profile="smok")
    refusal(two, 'there is no parameter .sed.: .*Did you mean "seed"', overrides={"01_first": {"sed": 1}})
    refusal(two, "there is no notebook '03_third'", overrides={"03_third": {"seed": 1}})


def test_settings_for_a_notebook_that_will_not_run_are_refused(two):
    refusal(two, "02_second has settings, but is not among", selected=["01"], overrides={"02_second": {"seed": 1}})


@pytest.mark.parametrize("setting", ["seed=1", "01_first.seed", "=1", ""])
def test_malformed_settings_are_refused(two, setting):
    with pytest.raises(BatchError, match="write NOTEBOOK.parameter=value"):
        plan.parse_settings([setting], two.path)


def test_setting_errors_name_the_setting(two):
    with pytest.raises(BatchError, match="--set 01.seed=x: parameter seed is 'x', but must be a whole number"):
        plan.parse_settings(["01.seed=x"], two.path)


def test_wrong_type_in_a_profile_is_refused_with_its_section(two):
    two.profile("smoke", **{"01_first": {"seed": "0"}})
    refusal(two, "profile smoke, section 01_first: parameter seed is '0', .*write 0.; its default is 0")


def test_a_section_must_name_a_notebook_and_be_a_mapping(two):
    two.profile("smoke", **{"09_gone": {}})
    refusal(two, "profile smoke: there is no notebook '09_gone'")
    two.profile("smoke", **{"01_first": None})
    refusal(two, "section 01_first must map parameters to values")


def test_a_notebook_without_a_section_is_refused(two):
    two.notebook("03_third")
    refusal(two, "profile smoke has no section 03_third: add one", selected=["03"])


@pytest.mark.parametrize("timeout", [0, -1, "60", True, float("inf"), float("nan")])
def test_a_time_limit_is_a_positive_number(two, timeout):
    two.profile("smoke", timeout=timeout, **{"01_first": {}})
    refusal(two, "timeout must be a positive number of seconds")


def test_a_profile_must_be_yaml_with_a_time_limit(two):
    (two.profiles / "smoke.yaml").write_text("01_first: {}")
    refusal(two, "must set `timeout`")
    (two.profiles / "smoke.yaml").write_text("timeout: [")
    refusal(two, "not valid YAML")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "must set `timeout`"),
        (b"[1, 2]", "must set `timeout`"),
        (b"timeout:\t60\n01_first:\n\tseed: 1", "not valid YAML"),
        (b'timeout: 60\n01_first: !!python/object/apply:os.system ["true"]', "not valid YAML"),
        (b"timeout: 60\n01_first: {}\n01_first: {seed: 1}", "not valid YAML: 01_first is given twice"),
        (b"timeout: 60\n01_first: {seed: 1, seed: 2}", "not valid YAML: seed is given twice"),
        (b"timeout: 60\n01_first: {seed: 2020-99-99}", "not valid YAML: month must be in"),
        (b"timeout: 60\n01_first: {seed: 1" + b"0" * 5000 + b"}", "not valid YAML: Exceeds the limit"),
        (b"timeout: 1" + b"0" * 400, "timeout must be a positive number of seconds"),
        (b"timeout: 60\n01_first: " + b"[" * 5000, "not valid YAML"),
        (bytes(range(256)), "not valid YAML"),
        ("# \xe9\ntimeout: 60".encode("latin-1"), "not valid YAML"),
    ],
)
def test_a_profile_that_is_none_is_refused_in_one_line(two, content, says):
    (two.profiles / "smoke.yaml").write_bytes(content)
    with pytest.raises(BatchError, match=f"^profile smoke: .*{says}") as caught:
        plan.build(two.path, "smoke")
    assert "\n" not in str(caught.value)


def test_a_profile_in_utf_16_is_read_and_a_folder_is_none(two):
    path = two.profiles / "smoke.yaml"
    path.write_text("timeout: 60\n01_first: {seed: 1}", encoding="utf-16")
    assert plan.build(two.path, "smoke")[0].parameters == {"seed": 1}
    path.unlink()
    path.mkdir()
    refusal(two, "profile smoke: it cannot be read: Is a directory")


def test_a_profile_can_require_a_device(two):
    two.profile("smoke", **{"01_first": {"requires": "cuda"}})
    assert plan.build(two.path, "smoke")[0].device == "cuda"
    two.profile("smoke", **{"01_first": {"requires": "tpu"}})
    refusal(two, "there is no device 'tpu': choose from cpu, cuda")


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_parameters_cell(folder, count):
    tagged = [new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]}) for _ in range(count)]
    nbformat.write(new_notebook(cells=tagged), folder.path / "01_x.ipynb")
    with pytest.raises(BatchError, match=f"notebook 01_x: exactly one cell .* found {count}"):
        notebook.read(folder.path / "01_x.ipynb")


def test_the_parameters_cell_holds_code(folder):
    cell = new_markdown_cell("seed: int = 0", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), folder.path / "01_x.ipynb")
    with pytest.raises(BatchError, match="must be a code cell"):
        notebook.read(folder.path / "01_x.ipynb")


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        bytes(range(256)),
        b'{"nbformat": 4, "nbformat_minor": 5}',
        b'{"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": [], "cells": []}',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": null}',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1]}',
    ],
)
def test_a_file_that_is_no_notebook_is_refused(folder, content):
    (folder.path / "01_x.ipynb").write_bytes(content)
    with pytest.raises(BatchError, match="notebook 01_x: not a valid notebook") as caught:
        notebook.read(folder.path / "01_x.ipynb")
    assert "\n" not in str(caught.value)


def test_a_notebook_that_cannot_be_read_is_refused(folder):
    (folder.path / "01_x.ipynb").symlink_to("nowhere")
    with pytest.raises(BatchError, match="notebook 01_x: .* cannot be read: No such file"):
        notebook.read(folder.path / "01_x.ipynb")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"after": ["01_frist"]}, 'there is no notebook for `after` .01_frist.: .*Did you mean "01_first"'),
        ({"after": ["02_second"]}, "names 02_second, which does not come before it"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"needs": "cuda"}, "its metadata `lpsgld` has needs"),
        ({"after": "01_first"}, "`after` in its metadata is '01_first', but must be a list"),
        ({"after": None}, "`after` in its metadata is None, but must be a list"),
        ({"device": ["cuda"]}, r"there is no device \['cuda'\]"),
    ],
)
def test_requirements_are_checked(two, metadata, message):
    two.notebook("02_second", **metadata)
    refusal(two, message)


@pytest.mark.parametrize("metadata", [[], "01_first", 3, None])
def test_requirements_are_an_object(two, metadata):
    path = two.notebook("02_second")
    content = nbformat.read(path, as_version=4)
    content.metadata["lpsgld"] = metadata
    nbformat.write(content, path)
    refusal(two, "its metadata `lpsgld` is .*, but must hold `after` or `device`")


def test_a_parameter_may_not_take_a_reserved_name(two):
    two.notebook("01_first", parameters="timeout: int = 3  # reserved")
    two.profile("smoke", **{"01_first": {}})
    refusal(two, "calls a parameter timeout, which profiles reserve")


def test_notebooks_are_those_of_the_current_directory_else_beside_the_package(two, monkeypatch, tmp_path):
    monkeypatch.chdir(two.path.parent)
    assert notebook.find_directory() == two.path
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setattr("lpsgld.__file__", str(tmp_path / "lpsgld" / "__init__.py"))
    assert notebook.find_directory() == two.path
    monkeypatch.setattr("lpsgld.__file__", str(empty / "site" / "lpsgld" / "__init__.py"))
    with pytest.raises(BatchError, match="run from a checkout"):
        notebook.find_directory()


def test_the_profiles_of_this_repository_are_sound():
    directory = Path(__file__).resolve().parents[2] / "notebooks"
    available = notebook.names(directory)
    for profile in ("smoke", "laptop"):
        assert [job.name for job in plan.build(directory, profile)] == available
    assert {job.name for job in plan.build(directory, "gpu")} <= set(available)
    assert all(job.smoke for job in plan.build(directory, "smoke"))
