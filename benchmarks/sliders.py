"""How long a slider takes, from its value to the picture's bytes: `python -m benchmarks.sliders`.

Every view of the notebooks that needs no data is walked through the corners of its controls. The goal is 100 ms.
"""

from __future__ import annotations

import importlib
import pkgutil

from lpsgld.lab import views
from lpsgld.lab.sliders.view import View
from tests.lab.checking import check_view


def main() -> None:
    """Print one row a view: median and slowest step, the first visit of a setting included."""
    print("| module | view | corners | median ms | slowest ms |\n|---|---|---|---|---|")
    for info in pkgutil.iter_modules(views.__path__):
        module = importlib.import_module(f"{views.__name__}.{info.name}")
        for view in vars(module).values():
            if isinstance(view, View) and view.build.__module__ == module.__name__:
                report = check_view(view)
                cells = (info.name, view.name, report.corners, round(1e3 * report.median), round(1e3 * report.slowest))
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
