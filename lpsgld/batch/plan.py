"""What will run, with which parameters: everything that can be wrong is found here, before anything runs.

A profile, `notebooks/profiles/NAME.yaml`, holds the time limit and one section a notebook:

    timeout: 300              # seconds for a whole notebook
    05_variance_correction:
      live: false             # a parameter of the notebook
    08_cifar:
      timeout: 600            # reserved: its own time limit
      requires: cuda          # reserved: skip it where this device is missing
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lpsgld.batch import notebook as notebooks
from lpsgld.batch.errors import BatchError, about
from lpsgld.batch.notebook import DEVICES, Notebook
from lpsgld.batch.parameters import Value
from lpsgld.text import one_of

RESERVED = ("timeout", "requires")

Overrides = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True)
class Job:
    """One notebook to run: the parameters to inject, its time limit in seconds, the device it cannot do without.

    overridden: whether some parameter is not the profile's.
    """

    notebook: Notebook
    parameters: dict[str, Value]
    timeout: float
    device: str
    overridden: bool = False

    @property
    def name(self) -> str:
        return self.notebook.name

    @property
    def smoke(self) -> bool:
        """Whether the notebook runs at smoke sizes, so that its figures are not for slides."""
        declared = self.notebook.parameters.get("smoke")
        return bool(self.parameters.get("smoke", declared.default if declared else False))


def build(directory: Path, profile: str, selected: Sequence[str] = (), overrides: Overrides | None = None) -> list[Job]:
    """The jobs of `profile` in order, or those of them in `selected` (names, paths or numbers).

    `overrides` maps a notebook to parameters that take precedence over the profile's. Raises BatchError.
    """
    overrides = overrides or {}
    default_timeout, sections = _read_profile(directory, profile)
    chosen = sorted({notebooks.resolve(text, directory) for text in selected}) or list(sections)
    for name in overrides:
        if one_of("notebook", name, notebooks.names(directory), BatchError) not in chosen:
            raise BatchError(f"{name} has settings, but is not among the notebooks to run: {', '.join(chosen)}")
    jobs = []
    for name in chosen:
        if name not in sections:
            raise BatchError(f"profile {profile} has no section {name}: add one to profiles/{profile}.yaml")
        declared = notebooks.read(directory / f"{name}.ipynb")
        with about(f"profile {profile}, section {name}"):
            jobs.append(_job(declared, {"timeout": default_timeout} | sections[name], overrides.get(name, {})))
    return jobs


def parse_settings(settings: Sequence[str], directory: Path) -> dict[str, dict[str, Value]]:
    """Turn `NOTEBOOK.parameter=value` texts into overrides, each value read as its parameter's type."""
    overrides: dict[str, dict[str, Value]] = {}
    for setting in settings:
        target, equals, text = setting.partition("=")
        stem, dot, parameter = target.rpartition(".")
        if not (equals and dot):
            raise BatchError(f"--set {setting}: write NOTEBOOK.parameter=value, such as 05_variance_correction.seed=1")
        with about(f"--set {setting}"):
            name = notebooks.resolve(stem, directory)
            declared = notebooks.read(directory / f"{name}.ipynb").parameters
            value = declared[one_of("parameter", parameter, declared, BatchError)].from_text(text)
        overrides.setdefault(name, {})[parameter] = value
    return overrides


def _job(notebook: Notebook, section: dict[str, Any], overrides: Mapping[str, Value]) -> Job:
    for key in RESERVED:
        if key in notebook.parameters:
            raise BatchError(f"the notebook calls a parameter {key}, which profiles reserve: rename it")
    values = {key: value for key, value in section.items() if key not in RESERVED} | dict(overrides)
    for key, value in values.items():
        notebook.parameters[one_of("parameter", key, notebook.parameters, BatchError)].check(value)
    device = one_of("device", section.get("requires", notebook.device), DEVICES, BatchError)
    return Job(notebook, values, _seconds(section["timeout"]), device, bool(overrides))


def _read_profile(directory: Path, profile: str) -> tuple[float, dict[str, dict[str, Any]]]:
    folder = directory / "profiles"
    one_of("profile", profile, sorted(path.stem for path in folder.glob("*.yaml")), BatchError)
    with about(f"profile {profile}"):
        try:
            content = yaml.load((folder / f"{profile}.yaml").read_bytes(), _Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
            raise BatchError(f"not valid YAML: {' '.join(str(error).split())}") from error
        except OSError as error:
            raise BatchError(f"it cannot be read: {error.strerror}. Mend {folder / profile}.yaml") from error
        if not isinstance(content, dict) or "timeout" not in content:
            raise BatchError("it must set `timeout`, the seconds for a whole notebook, and hold a section a notebook")
        timeout = _seconds(content.pop("timeout"))
        for name, section in content.items():
            one_of("notebook", name, notebooks.names(directory), BatchError)
            if not isinstance(section, dict):
                raise BatchError(f"section {name} must map parameters to values; an empty one is {{}}")
    return timeout, dict(sorted(content.items()))


class _Loader(yaml.SafeLoader):
    """YAML in which a name is given once: of two values, one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(problem=f"{name} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise BatchError(f"timeout must be a positive number of seconds, got {value!r}")
    return float(value)
