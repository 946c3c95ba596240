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

from benchmarks import epoch, network, optimizer, rivals, rounding
from benchmarks.timing import Row, table
from lpsgld.bnn.devices import device_name, pick_device
from lpsgld.bnn.training import compiling

SECTIONS = ("rounding", "optimizer", "rivals", "network", "epoch")


def main() -> None:
    """Parse the command line, run, print."""
    arguments = _arguments()
    # qtorch compiles its extension with ninja, which pip puts beside this interpreter
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    torch.manual_seed(0)
    device = pick_device(arguments.device)
    program = compiling.compiled(arguments.compile, device)
    print(f"{_machine(device)}\n{program.why}\n", flush=True)
    rows = []
    few = {1} if device.type == "cpu" else set()
    for threads in arguments.threads or sorted(few | {torch.get_num_threads()}):
        torch.set_num_threads(threads)
        for section in arguments.sections:
            for row in _rows(section, arguments, device, program.on):
                rows.append(row)
                found = f"{1e3 * row.ours:.3g} ms" + ("" if row.ratio is None else f", ratio {row.ratio:.2f}")
                print(f"  {row.what}, {row.threads} threads: {found}", file=sys.stderr, flush=True)
    print(table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios from interleaved runs.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 and all; on a GPU: all")
    parser.add_argument(
        "--repetitions",
        type=int,
        default=7,
        help="rounds, of which the fastest counts; of the network, the median (default: 7)",
    )
    parser.add_argument("--values", type=int, default=11_173_962, help="numbers to round (default: ResNet-18's)")
    parser.add_argument("--width", type=int, default=64, help="channels of ResNet-18's first stage (default: 64)")
    parser.add_argument("--batch", type=int, default=32, help="images a forward pass (default: 32)")
    parser.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda")
    choices = {"auto": "auto", "yes": True, "no": False}
    parser.add_argument("--compile", choices=choices, default="auto", help="see `lpsgld train --help`")
    parser.add_argument("--tf32", choices=choices, default="auto", help="in the epoch: see `lpsgld train --help`")
    parser.add_argument("--dataset", default="random", help="of the epoch (default: noise of CIFAR-10's shape)")
    parser.add_argument("--limit", type=int, help="training images of the epoch (default: all; 256 on a CPU)")
    arguments = parser.parse_args()
    arguments.compile, arguments.tf32 = choices[arguments.compile], choices[arguments.tf32]
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}: choose from {', '.join(SECTIONS)}")
    arguments.sections = arguments.sections or SECTIONS
    return arguments


def _rows(section: str, arguments: argparse.Namespace, device: torch.device, compiled: bool) -> Iterator[Row]:
    width, repetitions = arguments.width, arguments.repetitions
    if section == "rounding":
        yield from rounding.rows(arguments.values, repetitions, device)
    elif section == "optimizer":
        yield from optimizer.rows(width, repetitions, device, compiled)
    elif section == "rivals":
        if device.type == "cpu":
            yield from rivals.rows(width, repetitions)
    elif section == "network":
        yield from network.rows(width, arguments.batch, repetitions, device, compiled)
    else:
        limit = arguments.limit or (256 if device.type == "cpu" else None)
        images = epoch.images(arguments.dataset, limit)
        yield from epoch.rows(images, width, repetitions, device, compiled, arguments.tf32)


def _machine(device: torch.device) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    capability = torch.backends.cpu.get_cpu_capability()
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    accelerator = f"{device_name(device)}; " if device.type != "cpu" else ""
    return (
        f"{date.today()}: {accelerator}{model}, {os.cpu_count()} cores, {capability}; "
        f"Python {platform.python_version()}, torch {torch.__version__}{load}"
    )


if __name__ == "__main__":
    main()
