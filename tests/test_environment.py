"""environment.yml and constraints.txt say the same as pyproject.toml."""

import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
ONLY_ON_PYPI = {"qtorch", "math-core"}


def bounds(lines: list[str]) -> dict[str, str]:
    """Package name to its version bound, for requirement lines such as `torch>=2.11`."""
    return {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, lines)}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def required(project) -> dict[str, str]:
    """What the course needs, the library's requirements included."""
    return bounds(project["dependencies"] + project["optional-dependencies"]["course"])


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_conda_environment_has_the_packages_and_bounds_of_pyproject(project, required, environment):
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    expected = {CONDA_NAMES.get(name, name): bound for name, bound in required.items() if name not in ONLY_ON_PYPI}
    assert bounds(conda) == expected | {"python": project["requires-python"], "pip": ""}


def test_conda_environment_takes_the_rest_through_pip(project, required, environment):
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    *packages, itself = pip
    assert bounds(packages) == {name: required[name] for name in ONLY_ON_PYPI}
    assert itself == "-e .[course]"
    assert environment["channels"] == ["conda-forge"]
    assert environment["name"] == project["name"]


def test_every_requirement_has_one_tested_version_within_its_bound(project):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(r.name): r for r in (Requirement(line) for line in lines if line and line[0] != "#")}
    for line in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        requirement = Requirement(line)
        if requirement.name == project["name"]:  # an extra that holds another one
            continue
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "==", f"{pin} must be one version"
        assert requirement.specifier.contains(pin.version), f"{pin} is outside {requirement}"
