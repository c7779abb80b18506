"""``certify verify``: a certificate again from scratch, with nothing trusted."""

import click


@click.command("verify")
@click.argument("certificate")
def command(certificate: str) -> int:
    """Verify CERTIFICATE: every file by its digest, every number by computing it again, the whole by the ledger.

    Exit code 0: all of it holds. 1: something was changed, and is named. 4: something is not here.
    """
    from certify.core.verdict import Verdict
    from certify.gate.verify import verify
    from certify.reports.wording import clean

    words = {Verdict.PASS: "ok", Verdict.FAIL: "CHANGED", Verdict.REFUSED: "MISSING"}
    verification = verify(certificate)
    for finding in verification.findings:
        click.echo(f"{clean(finding.what)} ".ljust(32, ".") + f" {words[finding.verdict]:<8} {clean(finding.detail)}")
    click.echo(f"{verification.verdict.value} (exit {verification.verdict.exit_code})")
    return verification.verdict.exit_code
