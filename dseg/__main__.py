"""``python -m dseg``: the same as ``dseg``."""

from dseg.cli import main

main(prog_name="dseg")
