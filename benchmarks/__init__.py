"""How fast lpsgld is: ratios against qtorch, against no quantization, and against the floor.

`python -m benchmarks` in the repository's folder prints the table; README.md shows one, with its machine.
"""
