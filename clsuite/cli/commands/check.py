"""``clsuite check``: run the conformance suite on a plugin."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from clsuite.cli.commands.base import PATH_OR_NAME, Command, add_options
from clsuite.cli.console import make_console
from clsuite.errors import UserError, on_screen

if TYPE_CHECKING:
    from clsuite.conformance.finding import Outcome, Report


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "plugin",
        type=PATH_OR_NAME,
        help="./file.py, a name or package.module:Class, with arguments in parentheses where it needs any",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="device of the checks: cpu, auto, cuda, cuda:N, mps, or simulated, a device other than the CPU for "
        "machines without a GPU",
    )
    from clsuite.learner.options import TrainingSpec

    add_options(
        parser,
        TrainingSpec,
        head="head of the learner; linear by default",
        loss="kind of cross-entropy; global by default",
    )


def _run(arguments: Namespace) -> int:
    training = {"head": arguments.head, "loss": arguments.loss}
    return run_check(
        arguments.plugin, {key: value for key, value in training.items() if value is not None}, arguments.device
    )


def run_check(text: str, training: Mapping[str, Any], device: str = "cpu") -> int:
    """Check a plugin, or several joined by ``+``; returns the exit status (1 if there are findings).

    Raises:
        UserError: If the plugin or device does not exist, the plugin is broken, or its arguments are invalid.
    """
    from clsuite.cli.check_process import SIMULATED, check_aside
    from clsuite.config.devices import checked_device
    from clsuite.learner.options import TrainingSpec
    from clsuite.plugin.arguments import resolve_arguments
    from clsuite.plugin.catalog import find_plugin
    from clsuite.runner.methods import parse_method
    from clsuite.runner.training import resolve_training

    if device != SIMULATED:
        checked_device(device)
    uses = parse_method(text).plugins
    named = []
    for use in uses:
        info, source = find_plugin(use.name)
        if source.alone is not None:
            raise UserError(
                f"'{use.name}' is a strategy of {source.alone.library}'s, and clsuite check is for plugins: try it on "
                f"two tasks with clsuite bench quickstart --methods '{text}' --limit-tasks 2"
            )
        resolve_arguments(use.name, source, use.args)
        named.append((info.name, source))
    resolve_training(TrainingSpec(), named, {}, training)
    console = make_console()
    with console.status(escape(f"checking {on_screen(text)} on tiny streams of digits ...")):
        report = check_aside(text, uses, training, device)
    print_report(report, console)
    return 1 if report.findings else 0


def print_report(report: Report, console: Console) -> None:
    """Print one line for each check, followed by its findings."""
    console.print(f"[bold]{escape(report.method)}[/bold]", markup=True)
    for outcome in report.outcomes:
        if not outcome.findings and not outcome.skipped:
            console.print(f"[green]✓[/green] {outcome.title}", markup=True)
    _print_skipped(report, console)
    for outcome in report.outcomes:
        if outcome.findings:
            _print_findings(outcome, console)
    number = len(report.findings)
    verdict = "[green]nothing found[/green]" if not number else f"[red]{number} finding{'s' * (number > 1)}[/red]"
    console.print(f"{verdict} in {report.seconds:.1f} s", markup=True)


def _print_skipped(report: Report, console: Console) -> None:
    """Print one line for each reason why checks were skipped, so that the findings stay visible."""
    reasons: dict[str, list[str]] = {}
    for outcome in report.outcomes:
        if outcome.skipped:
            reasons.setdefault(outcome.skipped, []).append(outcome.title)
    for reason, titles in reasons.items():
        what = titles[0] if len(titles) == 1 else f"{len(titles)} checks"
        console.print(f"- {what}: not checked, {reason}", style="dim", soft_wrap=True)


def _print_findings(outcome: Outcome, console: Console) -> None:
    console.print(f"[red]✗[/red] [bold]{outcome.check}[/bold]: failed: {outcome.title}", markup=True)
    for finding in outcome.findings:
        console.print(f"    {finding.message}", soft_wrap=True)
        if finding.line:
            place = f"[cyan]{escape(finding.file)}:{finding.line}[/cyan]  {escape(finding.code)}"
            console.print(f"    {place}", soft_wrap=True, markup=True)
        console.print(f"    [yellow]fix:[/yellow] {escape(finding.fix)}", soft_wrap=True, markup=True)


COMMAND = Command(
    "Check a plugin: reports what is wrong, in which line, and how to fix it. Exit status 1 if anything is found.",
    (
        "clsuite check ./my_method.py",
        'clsuite check "replay(capacity=50)"',
        "clsuite check my_package.my_module:MyMethod",
        "clsuite check ./my_method.py --device cuda",
        "clsuite check ./my_method.py --device simulated",
    ),
    _arguments,
    _run,
)
