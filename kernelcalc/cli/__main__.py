"""``python -m kernelcalc.cli``."""

from kernelcalc.cli import main

main(prog_name="kernelcalc")
