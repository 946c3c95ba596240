"""The examples run as they are written, at small sizes, in sixty lines, and import only what the reference tells."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpsgld import storage
from lpsgld.publish import reference

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, out: Path) -> str:
    """What an example prints, as somebody would run it from another folder."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments, "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    assert result.returncode == 0, result.stderr
    return result.stdout


def formats(sample: Path) -> dict[str, str | None]:
    """The format of each parameter of a sample on disk."""
    return {name: fmt and fmt.name for name, fmt in storage.load_sample(sample).weight.items()}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_imports_what_the_reference_tells(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    told = {f"{module}.{entry.key}" for module in reference.MODULES for entry in reference.entries(module)}
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lpsgld")
        for alias in node.names
    }
    assert imported and imported <= told | set(reference.MODULES)
    assert "import lpsgld" not in source


@pytest.mark.slow
def test_the_mlp_meets_its_exact_answer_first(tmp_path):
    printed = run("mlp", "--steps", "1000", out=tmp_path / "samples")
    off, spread, stepped = (float(number) for number in re.findall(r"\d\.\d{2,3}", printed)[:3])
    assert off < 1 and abs(spread / stepped - 1) < 0.2 and 1 < stepped < 1.1
    assert re.search(r"MLP, average of 200: RMSE 0\.\d+, NLL \d\.\d+, 90 % intervals hold \d+%", printed)
    sample = min((tmp_path / "samples" / "mlp").iterdir())
    assert formats(sample) == {"0.weight": "block(8,0)", "0.bias": None, "2.weight": "block(8,0)", "2.bias": None}


@pytest.mark.slow
def test_the_transformer_reads_a_file(tmp_path):
    (tmp_path / "text.txt").write_text("Ein Text, der sich reimt, é bien. " * 300, encoding="utf-8")
    printed = run("characters", "--text", str(tmp_path / "text.txt"), "--steps", "30", out=tmp_path / "samples")
    assert re.fullmatch(r"last sample   perplexity .*, ECE .*%\naverage of 10 perplexity .*, ECE .*%\n", printed)
    found = formats(min((tmp_path / "samples").iterdir()))
    assert found["layers.layers.0.norm1.weight"] is None and found["head.bias"] is None
    assert found["layers.layers.1.self_attn.in_proj_weight"] == found["token.weight"] == "block(8,0)"


@pytest.mark.slow
def test_the_network_of_torchvision_sees_a_folder(tmp_path):
    random = np.random.default_rng(0)
    for part, many in (("train", 32), ("test", 8)):
        for level, name in enumerate(("dark", "light")):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for i in range(many):
                pixels = random.integers(100 * level, 100 * level + 100, (12, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{i}.png")
    printed = run("image_folder", str(tmp_path / "images"), "--steps", "20", out=tmp_path / "samples")
    assert re.fullmatch(r"last sample   error .*%, NLL .*, ECE .*%\naverage of 10 error .*, NLL .*, ECE .*\n", printed)
    sample = min((tmp_path / "samples").iterdir())
    found = formats(sample)
    assert found["layer4.0.conv2.weight"] == "block(8,0)" and found["layer2.0.downsample.1.bias"] is None
    assert sample.stat().st_size < 1.1 * sum(p.numel() for p in storage.load_sample(sample).state.values())
