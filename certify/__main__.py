"""``python -m certify`` is the same as ``certify``."""

from certify.cli.app import main

main()
