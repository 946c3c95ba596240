"""`python -m benchmarks`: run the comparisons on this machine and print their table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch

from benchmarks import network, optimizer, rounding
from benchmarks.timing import Row, table

SECTIONS = ("rounding", "optimizer", "network")


def main() -> None:
    """Parse the command line, run, print."""
    arguments = _arguments()
    # qtorch compiles its extension with ninja, which pip puts beside this interpreter
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    torch.manual_seed(0)
    print(_machine(), flush=True)
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for section in arguments.sections:
            for row in _rows(section, arguments):
                rows.append(row)
                print(f"  {row.what}, {row.threads} threads: {row.other / row.ours:.2f}", file=sys.stderr, flush=True)
    print(table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios from interleaved runs.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, torch.get_num_threads()}))
    parser.add_argument("--repetitions", type=int, default=7, help="rounds; the fastest counts (default: 7)")
    parser.add_argument("--values", type=int, default=11_173_962, help="numbers to round (default: ResNet-18's)")
    parser.add_argument("--width", type=int, default=64, help="channels of ResNet-18's first stage (default: 64)")
    parser.add_argument("--batch", type=int, default=32, help="images a forward pass (default: 32)")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}: choose from {', '.join(SECTIONS)}")
    arguments.sections = arguments.sections or SECTIONS
    return arguments


def _rows(section: str, arguments: argparse.Namespace) -> Iterator[Row]:
    if section == "rounding":
        return rounding.rows(arguments.values, arguments.repetitions)
    if section == "optimizer":
        return optimizer.rows(arguments.width, arguments.repetitions)
    return network.rows(arguments.width, arguments.batch, arguments.repetitions)


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    capability = torch.backends.cpu.get_cpu_capability()
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{date.today()}: {model}, {os.cpu_count()} cores, {capability}; "
        f"Python {platform.python_version()}, torch {torch.__version__}{load}\n"
    )


if __name__ == "__main__":
    main()
