"""``python -m kernelcalc``: the command line."""

from kernelcalc.cli import main

main(prog_name="kernelcalc")
