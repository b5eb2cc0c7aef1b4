"""`python -m vark` is the command `vark`."""

from vark.cli import main

main()
