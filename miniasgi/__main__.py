"""`python -m miniasgi` is the command `miniasgi`."""

from .cli import main

main(prog_name="miniasgi")
