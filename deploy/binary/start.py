"""Where the portal of one file begins."""

from clawportal.cli.binary import main

main()
