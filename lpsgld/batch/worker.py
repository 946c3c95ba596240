"""The process that executes one notebook: `python -P worker.py JOB.json`.

It is run as a file, so that it imports papermill alone and not the package: the kernel, which does import it,
then has the machine's memory to itself. It ends, and what it has started with it, when whoever holds the other end of
its standard input is gone: a runner that was killed could not end it. The job names `notebook`, `output`,
`parameters`, `directory`, `name` and `failure`, a file that receives the reason where the notebook itself does not
hold one, such as a dead kernel.
"""

import ctypes
import json
import os
import sys
import threading
from pathlib import Path

import psutil


def main(job: dict) -> int:
    """Execute the job's notebook; 0 if no cell failed."""
    import papermill  # takes a second, in which the runner may already be gone

    look_for_the_reply_after_sending()
    # papermill fills parameters into the braces of a path
    notebook, output = (job[name].replace("{", "{{").replace("}", "}}") for name in ("notebook", "output"))
    terminal = sys.stderr.isatty()
    try:
        papermill.execute_notebook(
            notebook,
            output,
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


def look_for_the_reply_after_sending() -> None:
    """Keep nbclient from waiting for ever for a cell's reply that has arrived (its issue 312).

    What an Output widget captures is sent back to the kernel, through the very socket on which asyncio awaits the
    reply, but past asyncio. ZeroMQ tells of a message once; a send that meets it swallows the news. To ask for a
    socket's events, after a send, tells asyncio what is there.
    """
    import zmq
    from nbclient.output_widget import OutputWidget

    send = OutputWidget.send

    def send_and_look(widget, *arguments, **keywords) -> None:
        send(widget, *arguments, **keywords)
        widget.kernel_client.shell_channel.socket.get(zmq.EVENTS)

    OutputWidget.send = send_and_look


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, as a daemon's: whoever ends this process finds them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def end_with_the_runner() -> None:
    """Wait for the end of standard input, then end this process and all that descend from it."""
    while os.read(sys.__stdin__.fileno(), 1):
        pass
    while family := psutil.Process().children(recursive=True):
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(family, timeout=1)
    os._exit(1)


if __name__ == "__main__":
    adopt_orphans()
    threading.Thread(target=end_with_the_runner, daemon=True).start()
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
