"""Errors, named by what the user can do about them. Each prints as one line: where, what, how to mend."""


class CertifyError(Exception):
    """Base of every error that a user can mend.

    Args:
        what: what is wrong, without any content of the data.
        where: the file or key concerned.
        mend: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        line = f"{head}; {self.mend}" if self.mend else head
        return " ".join(line.split())


class ConfigurationError(CertifyError):
    """The command line or the spec makes no sense (exit 2)."""


class InputError(CertifyError):
    """A file or an array cannot be read or makes no sense (exit 2)."""


class ArgumentError(InputError, ValueError):
    """An argument of a function is of the wrong type or makes no sense (exit 2); a ValueError too, as Python has it."""


class AssumptionViolatedError(CertifyError):
    """A theorem does not apply: nothing can be certified (exit 4)."""

    exit_code = 4


class BudgetExceededError(CertifyError):
    """An unlearner reached the limit it was given before it was done (exit 4)."""

    exit_code = 4


class TamperedError(CertifyError):
    """Evidence was changed after it was made (exit 1)."""

    exit_code = 1


class TooLittlePowerError(CertifyError):
    """There is too little to look at for any answer; the message says how much would do (exit 3)."""

    exit_code = 3
