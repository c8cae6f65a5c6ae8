"""The command line: one file per verb, each imported only when it is called.

Exit codes: 0 done, 1 it could not be done, 2 the call itself was wrong
(an unknown option, a bad value), 130 stopped with Ctrl-C. Facts go to stdout,
progress and errors to stderr.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from xzoo import __version__
from xzoo.errors import OptionError, XzooError

__all__ = ["VERBS", "main", "xzoo"]

VERBS = (
    "ls",
    "show",
    "get",
    "verify",
    "finetune",
    "run",
    "recipe",
    "reproduce",
    "evaluate",
    "embed",
    "landmarks",
    "bench",
    "publish",
    "data",
    "plugins",
    "plugin",
    "demo",
    "doctor",
)


class _Verbs(click.Group):
    """A group whose commands are the modules named in ``VERBS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one module that holds the verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"xzoo.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest verbs when there is none of that name."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            raise click.NoSuchCommand(args[0], possibilities=VERBS, ctx=ctx)
        return super().resolve_command(ctx, args)


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def xzoo() -> None:
    """The model zoo of recognition across spectra.

    \b
    xzoo ls                          what there is
    xzoo show hybrid_fr_t2v          one card
    xzoo finetune hybrid_fr_t2v --data people.csv --lora --output runs/mine
    xzoo evaluate runs/mine --data people.csv
    """  # noqa: D301  (\\b tells click to keep the lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    Args:
        argv: The words after ``xzoo``; those of this process when None.
    """
    try:
        code = xzoo.main(args=None if argv is None else list(argv), prog_name="xzoo", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "xzoo"
        _complain("UsageError", f"{error.format_message()}\n  do: {path} --help")
        return 2
    except click.ClickException as error:
        _complain(type(error).__name__, error.format_message())
        return 1
    except XzooError as error:
        _complain(type(error).__name__, str(error))
        return 2 if isinstance(error, OptionError) else 1
    except (click.Abort, KeyboardInterrupt) as stop:
        # Training says in the exception what was kept; click puts its own in between.
        said = str(stop.__cause__ or stop) or "stopped."
        click.echo(said[0].upper() + said[1:], err=True)
        return 130


def _complain(kind: str, text: str) -> None:
    click.echo(f"{kind}: {text}", err=True)
