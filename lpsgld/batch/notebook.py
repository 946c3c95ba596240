"""What a notebook declares about itself: its question, parameters, prerequisites and device."""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import nbformat

import lpsgld
from lpsgld.batch import parameters
from lpsgld.batch.errors import BatchError, about
from lpsgld.batch.parameters import Parameter
from lpsgld.lab.course import without_cover
from lpsgld.text import one_of, typed

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Notebook:
    """One notebook, read but not executed.

    `after` names the notebooks whose results it needs, `device` the one it cannot do without; both come from
    the notebook's metadata, `{"lpsgld": {"after": ["08_cifar"], "device": "cuda"}}`, and both may be left out.
    """

    path: Path
    title: str
    question: str
    parameters: dict[str, Parameter]
    after: tuple[str, ...]
    device: str

    @property
    def name(self) -> str:
        return self.path.stem


def find_directory() -> Path:
    """The notebooks: those of the current directory, else those that came with the package: beside it (an editable
    install), or among the shared files of the environment."""
    beside_package, shared = (
        Path(lpsgld.__file__).resolve().parents[1],
        Path(sysconfig.get_path("data")) / "share/lpsgld",
    )
    for directory in (folder / "notebooks" for folder in (Path.cwd(), beside_package, shared)):
        if any(directory.glob("*.ipynb")):
            return directory
    raise BatchError(
        f"no notebooks in {Path.cwd() / 'notebooks'}, nor with the package: "
        'run from a checkout of the repository, or install it from there: `pip install -e ".[course]"`'
    )


def names(directory: Path) -> list[str]:
    """The names of the notebooks in `directory`, in the order in which they are read and run."""
    return sorted(path.stem for path in directory.glob("*.ipynb"))


def resolve(text: str, directory: Path) -> str:
    """The notebook that `text` means: a name, a path to it, or its number (`05` or `5`)."""
    name = Path(text).name.removesuffix(".ipynb")
    available = names(directory)
    numbered = [candidate for candidate in available if candidate.startswith(f"{name.zfill(2)}_")]
    return numbered[0] if len(numbered) == 1 and name.isdigit() else one_of("notebook", name, available, BatchError)


def read(path: Path) -> Notebook:
    """Read and check what the notebook at `path` declares. Raises BatchError, with the notebook's name."""
    with about(f"notebook {path.stem}"):
        content = load(path)
        title, question = _headline(content)
        after, device = _requirements(content, path)
        return Notebook(path, title, question, parameters.parse(_parameters_cell(content).source), after, device)


def load(path: Path) -> nbformat.NotebookNode:
    """The valid notebook in the file at `path`, without its cover, else BatchError."""
    try:
        content = nbformat.reads(without_cover(path.read_bytes()).decode("utf-8"), as_version=4)
        nbformat.validate(content)
    except OSError as error:
        raise BatchError(f"{path} cannot be read: {error.strerror}. Restore it, or remove it") from error
    except Exception as error:  # whatever nbformat raises for what it does not expect
        raise BatchError(
            f"not a valid notebook: {(str(error) or repr(error)).splitlines()[0]}. Restore or remove it"
        ) from error
    return content


def _parameters_cell(content: nbformat.NotebookNode) -> nbformat.NotebookNode:
    cells = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise BatchError(f"exactly one cell must carry the tag `parameters`, found {len(cells)}")
    if cells[0].cell_type != "code":
        raise BatchError("the cell tagged `parameters` must be a code cell")
    return cells[0]


def _requirements(content: nbformat.NotebookNode, path: Path) -> tuple[tuple[str, ...], str]:
    declared = content.metadata.get("lpsgld", {})
    if not isinstance(declared, dict):
        raise BatchError(f"its metadata `lpsgld` is {declared!r}, but must hold `after` or `device`")
    if unknown := declared.keys() - {"after", "device"}:
        raise BatchError(f"its metadata `lpsgld` has {', '.join(unknown)}; only `after` and `device` are known")
    after, device = declared.get("after", []), declared.get("device", "cpu")
    one_of("device", device, DEVICES, BatchError)
    for name in typed("`after` in its metadata", "list[str]", after, BatchError):
        one_of("notebook for `after`", name, names(path.parent), BatchError)
        # Numbers give the order; a prerequisite that sorts later would need a second, hidden order.
        if name >= path.stem:
            raise BatchError(f"`after` names {name}, which does not come before it: renumber one of them")
    return tuple(after), device


def _headline(content: nbformat.NotebookNode) -> tuple[str, str]:
    lines = next((cell.source for cell in content.cells if cell.cell_type == "markdown"), "").splitlines()
    title = next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")
    prose = (line for line in lines if not line.startswith("# "))
    question = next((line.replace("*", "").strip("#>_ ") for line in prose if line.rstrip("*_ ").endswith("?")), "")
    return title, question.removeprefix("The question: ")
