"""The process that executes one notebook: `python -P worker.py JOB.json`.

It is run as a file, so that it imports papermill alone and not the package: the kernel, which does import it,
then has the machine's memory to itself. The job names `notebook`, `output`, `parameters`, `directory`, `name` and
`failure`, a file that receives the reason where the notebook itself does not hold one, such as a dead kernel.
"""

import json
import sys
from pathlib import Path

import papermill


def main(job: dict) -> int:
    """Execute the job's notebook; 0 if no cell failed."""
    terminal = sys.stderr.isatty()
    try:
        papermill.execute_notebook(
            job["notebook"],
            job["output"],
            job["parameters"],
            kernel_name="python3",
            language="python",
            progress_bar={"desc": job["name"], "leave": False} if terminal else False,
            stderr_file=sys.stderr if terminal else None,
            cwd=job["directory"],
        )
    except papermill.PapermillExecutionError:
        return 1
    except Exception as error:
        Path(job["failure"]).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
