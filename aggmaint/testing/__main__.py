"""`python -m aggmaint.testing certify [--warehouse] module:factory` prints a certificate.

Exit code: 0 conforms, 1 does not, 2 usage.
"""

import argparse
import sys
from collections.abc import Sequence

from ..errors import InvalidValueError
from .certificate import Effort, certify, find_target
from .warehouse_certificate import certify_warehouse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aggmaint.testing", description="The conformance kit of aggmaint.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("certify", help="check a job store or a warehouse and print a certificate")
    command.add_argument("factory", help="module:factory, or module:Suite; factory(location: str) or factory()")
    command.add_argument(
        "--warehouse", action="store_true", help="check a warehouse: factory(location: str) makes a bench"
    )
    command.add_argument("--seed", type=int, default=0, help="of the random examples (default 0)")
    command.add_argument("--location", help="the directory in which stores are made (default: a temporary one)")
    command.add_argument("--json", action="store_true", help="print the certificate as JSON")
    command.add_argument("--examples", type=int, default=Effort().examples, help="of the state machine")
    command.add_argument("--steps", type=int, default=Effort().steps, help="of each example")
    command.add_argument("--no-timings", action="store_true", help="leave the measurements out")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    effort = Effort(options.seed, options.examples, options.steps, options.location, not options.no_timings)
    try:
        target = find_target(options.factory)
        certificate = certify_warehouse(target, options.location) if options.warehouse else certify(target, effort)
    except InvalidValueError as exc:
        parser.error(str(exc))
    sys.stdout.write((certificate.as_json() if options.json else certificate.as_text()) + "\n")
    return 0 if certificate.passed else 1


if __name__ == "__main__":
    sys.exit(main())
