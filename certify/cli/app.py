"""The command group. Nothing heavy is imported before the command is known."""

import os
import sys
from importlib import import_module
from importlib.metadata import version

import click

from certify.core.errors import CertifyError, ConfigurationError
from certify.core.interrupts import InterruptedWorkError

EXIT_CODES = """\b
Exit codes:
  0   pass
  1   fail: a bound or an audit exceeds the policy
  2   usage, configuration or input that makes no sense
  3   inconclusive: the audit had too little power
  4   refused: nothing could be certified
  70  internal error
  74, 130  output could not be written; interrupted
"""

_COMMANDS = {
    "demo": "The whole story on real data; no arguments needed.",
    "init": "Write a commented certify.toml.",
    "check": "The gate: check the model of a spec against its policy.",
    "unlearn": "Run an unlearner on the spec's original model.",
    "audit": "The empirical attacks of a spec alone, with their cost told first.",
    "session": "Delete, correct and add records one request after the other, each certified.",
    "release": "Check, draw the noise, write the released weights and the certificate, book it.",
    "ledger": "What was released and what it cost: list, show, verify, export.",
    "verify": "Verify a certificate from scratch, with nothing trusted.",
    "report": "Render a certificate again, in another format.",
    "list": "List unlearners, attacks, losses and report formats.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps, and imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first use."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"certify.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for an unknown one."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from certify.core.names import did_you_mean

            ctx.fail(f"no command {args[0]!r}; {did_you_mean(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands and their helps, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        click.echo(f"certify {version('certify-unlearning')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CERTIFY"},
    epilog=EXIT_CODES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def app() -> None:
    """The release gate for machine unlearning.

    Proves what can be proved about a model after a deletion, refuses the rest, writes the report, returns an exit code.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (fixed.isascii() and fixed.isdigit()):  # said here because NumPy stumbles over it as soon as it is imported
        raise ConfigurationError(
            f"{fixed[:40]!r} is not a number of seconds", where="SOURCE_DATE_EPOCH", mend="unset it"
        )


def _debug(error: BaseException) -> None:
    """The traceback of what went wrong first, for those who ask: it could show record contents."""
    if not os.environ.get("CERTIFY_DEBUG"):
        return
    import traceback

    while error.__context__ is not None:
        error = error.__context__
    traceback.print_exception(error)


def _internal_error(error: BaseException) -> int:
    """One line for a bug of ours; never a traceback, which could show record contents."""
    _debug(error)
    place = type(error).__name__
    click.echo(
        f"certify: internal error ({place}): this is a bug in certify, not in your data; nothing was certified. "
        "Run again with CERTIFY_DEBUG=1 and report the traceback with `certify --version` (check it for private data first)",
        err=True,
    )
    return 70


def _undelivered(error: OSError) -> int:
    """What was asked for was not delivered, so this must not read as a pass: nor as a fail, which is a verdict too."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the interpreter flushes it at exit
    if not isinstance(error, BrokenPipeError):  # there, the reader has gone away and knows
        why = f" ({error.strerror.lower()})" if error.strerror else ""
        click.echo(f"certify: the system refused to read or write{why}; the output is not complete", err=True)
    return 74


def _explain_click(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "certify"
    message = " ".join(error.format_message().split()).rstrip(".")
    click.echo(f"certify: {message}{' -' if message.endswith('?') else ';'} see `{where} --help`", err=True)
    return error.exit_code


def _said(line: str, code: int) -> int:
    click.echo(f"certify: {line}", err=True)
    return code


def _explain(error: BaseException) -> int:  # noqa: PLR0911 - one for each kind of end
    """Tell the user in one line, and give the exit code."""
    if isinstance(error, click.Abort):  # click's word for an interrupt, and for an input that ends
        error = error.__cause__ or KeyboardInterrupt()
    match error:
        case CertifyError():
            _debug(error)
            return _said(str(error), error.exit_code)
        case click.ClickException():
            return _explain_click(error)
        case click.exceptions.Exit():
            return error.exit_code
        case KeyboardInterrupt():
            left = str(error) if isinstance(error, InterruptedWorkError) else "nothing was written"
            return _said(f"interrupted; {left}", 130)
        case OSError():
            return _undelivered(error)
        case MemoryError():
            return _said("out of memory; nothing was certified: use a machine with more of it", 2)
        case _:
            return _internal_error(error)


def _run(arguments: list[str]) -> int:
    try:
        result = app.main(args=arguments, prog_name="certify", standalone_mode=False)
    except SystemExit:  # click's answer to a broken pipe, with an exit code that would read as a verdict
        return _undelivered(BrokenPipeError())
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line of defence
        return _explain(error)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as `certify check >&-` does: the exit code still counts
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    code = _run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _undelivered(error)
    sys.exit(code)
