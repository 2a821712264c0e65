"""The verbs behind the command line, as plain functions, a file each; none loads what another needs."""
