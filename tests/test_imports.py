"""What is imported is asked for in pyproject.toml, and the library works without what only the course brings."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
OF_COURSE = ("bnn", "lab", "batch", "publish", "__main__")  # all other rooms are the library
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DISTRIBUTIONS = packages_distributions()
FOLDERS = ("lpsgld", "benchmarks", "examples", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LIBRARY = [
    p
    for p in FILES
    if p.is_relative_to(ROOT / "lpsgld") and p.relative_to(ROOT).with_suffix("").parts[1] not in OF_COURSE
]


def declared(*extras: str) -> set[str]:
    """The distributions that pyproject.toml asks for, with these extras."""
    lines = [line for extra in extras for line in PROJECT["project"]["optional-dependencies"][extra]]
    return {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"] + lines}


def foreign(path: Path) -> dict[str, set[str]]:
    """The packages that a file imports, wherever in it, and the distributions that each may be from."""
    tops = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            tops |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            tops.add(node.module.partition(".")[0])
    tops -= {"lpsgld", "benchmarks", "tests"} | set(sys.stdlib_module_names)
    return {top: {canonicalize_name(name) for name in DISTRIBUTIONS.get(top, [top])} for top in tops}


def undeclared(files: list[Path], *extras: str) -> set[tuple[str, str]]:
    """Each of the files with a package that it imports and that pyproject.toml does not ask for."""
    return {
        (str(path.relative_to(ROOT)), top)
        for path in files
        for top, distributions in foreign(path).items()
        if not distributions & declared(*extras)
    }


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("lpsgld", ["course"]), ("benchmarks", ["course"]), ("examples", ["course"]), ("tests", ["course", "test"])],
)
def test_every_direct_import_is_declared(folder, extras):
    assert not undeclared([path for path in FILES if path.is_relative_to(ROOT / folder)], *extras)


def test_the_library_imports_only_what_it_asks_for():
    assert len(LIBRARY) > 15 and not undeclared(LIBRARY)


def test_a_package_that_is_not_declared_would_be_found():
    """Without the course's packages there are many, also one that is imported inside a function."""
    found = undeclared(FILES)
    assert ("lpsgld/batch/plan.py", "yaml") in found and ("lpsgld/bnn/data/datasets.py", "sklearn") in found


def test_nothing_is_asked_for_in_vain():
    used = set().union(
        *(found for path in FILES if path.is_relative_to(ROOT / "lpsgld") for found in foreign(path).values())
    )
    assert declared("course") - used == {"jupyterlab"}, "which is only run"


@pytest.mark.slow
def test_the_lab_does_not_import_its_views():
    absent = ("lpsgld.lab.views.variance_correction", "papermill", "matplotlib.pyplot")
    code = f"import sys, lpsgld.lab; print([name for name in {absent!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


BLOCK = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def without_the_course(code: str, folder: Path) -> str:
    """What the code prints in a new interpreter that finds no package which only the course brings."""
    of_course = declared("course") - declared()
    blocked = {top for top, found in DISTRIBUTIONS.items() if {canonicalize_name(name) for name in found} & of_course}
    blocked |= {top for top in DISTRIBUTIONS if top.startswith("jupyter")}
    assert {"torchvision", "matplotlib", "IPython", "ipywidgets", "PIL", "sklearn", "yaml", "jupyterlab"} <= blocked
    command = [sys.executable, "-c", BLOCK.format(blocked=blocked) + code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_library_alone_trains_a_network_and_stores_a_sample(tmp_path):
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in LIBRARY]
    code = f"""
import importlib
import torch
from lpsgld import SGLD, formats, storage

for module in {modules!r}:
    importlib.import_module(module)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
fmt = formats.parse("block(8,0)")
optimizer = SGLD(model.parameters(), lr=0.2, num_data=100_000, weight=fmt, grad=fmt, accumulator="vc")
x = torch.randn(256, 2)
losses = []
for step in range(200):
    loss = (model(x) - x.prod(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < losses[0] / 2, losses

storage.save_sample("sample", model, fmt, {{"seed": 0}})
state = storage.load_sample("sample").state
assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
print(len(state), "tensors came back")
"""
    assert without_the_course(code, tmp_path) == "4 tensors came back\n"


@pytest.mark.slow
def test_a_command_that_needs_the_course_says_so_in_one_line(tmp_path):
    missing = {
        "run": "nbformat",
        "list": "nbformat",
        "figures": "nbformat",
        "book": "nbformat",
        "train train_bfp --dataset digits --out run": "sklearn",
        "train train_bfp --dataset cifar10 --out run": "torchvision",
    }
    code = f"""
from lpsgld.__main__ import main
sys.stderr = sys.stdout
for command in {list(missing)!r}:
    print(main(command.split()))
print(main(["recipes", "train_bfp"]))
"""
    lines = without_the_course(code, tmp_path).splitlines()
    says = [
        f'lpsgld: {name} is missing. The course brings it: pip install "lpsgld[course]"' for name in missing.values()
    ]
    assert lines[: 2 * len(says)] == [line for sentence in says for line in (sentence, "2")]
    assert lines[-1] == "0" and any("block(8,0)" in line for line in lines), "recipes need the library alone"
    assert not list(tmp_path.iterdir()), "before anything changes"


def test_the_package_tells_type_checkers_that_it_has_types():
    packaged = PROJECT["tool"]["setuptools"]["package-data"]["lpsgld"]
    assert (ROOT / "lpsgld" / "py.typed").exists() and "py.typed" in packaged
