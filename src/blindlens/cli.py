"""The command line. What a user can mend ends in one sentence on stderr and exit code 2, never in a traceback."""

import sys

from cyclopts import App, CycloptsError

from . import __version__, cli_answers, cli_infer, cli_prior, cli_studies
from .errors import BlindlensError, Interrupted

app = App(name="blindlens", version=__version__, help="Joint posteriors of lens and source from one image.")
for command in (
    cli_prior.prior_app,
    cli_prior.train,
    cli_infer.infer,
    cli_infer.compare,
    cli_answers.report,
    cli_answers.derive,
    cli_answers.export_app,
    cli_studies.simulate,
    cli_studies.reproduce,
    cli_studies.coverage,
):
    app.command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 for what the user can mend, 130 after Ctrl-C."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (BlindlensError, CycloptsError) as error:
        print(f"blindlens: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"\nblindlens: {str(error) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
