"""What a notebook shows: sliders, figures for slides, checked claims, exercises.

Numbers come from the rest of the package; how a notebook is run in a batch is in `lpsgld.batch`; the pictures
themselves are in `lpsgld.lab.views`, one module a notebook, which is not imported here.
"""

from lpsgld.lab.claims import ClaimFailed, claim, summary
from lpsgld.lab.exercises import check_answer, predict
from lpsgld.lab.figures.saving import save_figure
from lpsgld.lab.session import recorded_folder, run_folder, start
from lpsgld.lab.sliders.panel import Panel, explore
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import new_figure, role

__all__ = [
    "ClaimFailed",
    "Control",
    "Panel",
    "View",
    "check_answer",
    "claim",
    "explore",
    "new_figure",
    "predict",
    "recorded_folder",
    "role",
    "run_folder",
    "save_figure",
    "start",
    "summary",
]
