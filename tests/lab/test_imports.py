"""The numerics do not import what only notebooks need, and the lab does not import its views."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("lpsgld, lpsgld.toy.exact, lpsgld.toy.chains", ("matplotlib", "ipywidgets", "IPython", "papermill")),
        ("lpsgld.lab", ("lpsgld.lab.views.variance_correction", "papermill", "matplotlib.pyplot")),
    ],
)
def test_what_is_not_imported(module, absent):
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
