"""Commands on spaCy's own app: python -m spacy ie <command>. One file a command."""

import typer
from spacy.cli._util import app

from .calibrate import calibrate_cli
from .compress import compress_cli
from .convert import convert_cli
from .distil import distil_cli
from .evaluate import evaluate_cli
from .group import MessageGroup
from .thresholds import thresholds_cli
from .view import view_cli

__all__ = ["ie_app"]

HELP = "Entities, relations and events: data conversion and more (spacy-llm-ie)."

ie_app = typer.Typer(name="ie", cls=MessageGroup, help=HELP, no_args_is_help=True, rich_markup_mode=None)


@ie_app.callback()
def ie() -> None:
    """Keep `ie` a group of commands, also while it has one command only."""


ie_app.command("convert")(convert_cli)
ie_app.command("calibrate")(calibrate_cli)
ie_app.command("compress")(compress_cli)
ie_app.command("distil", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(distil_cli)
ie_app.command("evaluate")(evaluate_cli)
ie_app.command("thresholds")(thresholds_cli)
ie_app.command("view")(view_cli)
app.add_typer(ie_app, name="ie", help=HELP)
