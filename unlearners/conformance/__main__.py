"""``python -m certify.unlearners.conformance NAME...``: exit 0 where all conform, 1 where one does not, 2 for a wrong name."""

import sys
from collections.abc import Sequence

from certify.core.errors import CertifyError
from certify.unlearners.conformance.suite import check, method_named
from certify.unlearners.registry import names

_USAGE = """usage: python -m certify.unlearners.conformance NAME|module:Class ...

Runs every check of the conformance suite. Exit 0 where all methods conform, 1 where one does not, 2 for a wrong name.
"""


def main(arguments: Sequence[str]) -> int:
    """Check the named methods."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(f"{_USAGE}\nregistered: {', '.join(names())}\n")
        return 0 if arguments else 2
    passed = True
    for name in arguments:
        try:
            report = check(method_named(name))
        except CertifyError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        sys.stdout.write(f"{report}\n")
        passed = passed and report.passed
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
