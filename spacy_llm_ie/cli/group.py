"""The group of our commands: what is wrong with what a user gave is said in a message, and not as an error of the program."""

import re
from typing import Any

import click
from typer.core import TyperGroup
from wasabi import msg

# Ours, spaCy's, and the operating system's.
CODED = re.compile(r"\[(IE-[EW]\d+|[EW]\d+|(Errno|WinError) \d+)\]")


class MessageGroup(TyperGroup):
    """Commands whose errors with a code are printed as a message, with exit code 1. Others keep their traceback: they are bugs."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. RETURNS (Any): What it returns."""
        try:
            return super().invoke(ctx)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if not CODED.match(str(error)):
                raise
            msg.fail(str(error), exits=1)
