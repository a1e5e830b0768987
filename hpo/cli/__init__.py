"""The commands: parse, call, print. One file for each group of them."""

from hpo.cli.program import main

__all__ = ["main"]
