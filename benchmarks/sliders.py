"""How long a slider takes, from its value to the picture's bytes: `python -m benchmarks.sliders`.

Every view of the notebooks that needs no data is walked through the corners of its controls. The goal is 100 ms.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
import time

from lpsgld.lab import style, views
from lpsgld.lab.sliders.view import View
from tests.lab.checking import settings


def seconds(view: View) -> list[float]:
    """Of each corner of the view's controls, from its values to the picture's bytes."""
    figure, artists = view.build(**view.parameters())
    spent = []
    for parameters in settings(view):
        begin = time.perf_counter()
        view.update(artists, **parameters)
        style.png(figure)
        spent.append(time.perf_counter() - begin)
    return spent


def main() -> None:
    """Print one row a view: median and slowest step, the first visit of a setting included."""
    print("| module | view | corners | median ms | slowest ms |\n|---|---|---|---|---|")
    for info in pkgutil.iter_modules(views.__path__):
        module = importlib.import_module(f"{views.__name__}.{info.name}")
        for view in vars(module).values():
            if isinstance(view, View) and view.build.__module__ == module.__name__:
                steps = seconds(view)
                told = (round(1e3 * value) for value in (statistics.median(steps), max(steps)))
                cells = (info.name, view.name, len(steps), *told)
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
