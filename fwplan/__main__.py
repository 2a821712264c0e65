"""`python -m fwplan`: the command without its installed script."""

from fwplan import cli

cli.main()
