"""`dpe spec`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Facts, Lines, ProgressDisplay, Report, Table
from dpe_cli.errors import SpecError, UnknownNameError, UsageError
from dpe_cli.outputs import sarif
from dpe_cli.problems import of_error
from dpe_cli.specs import escalation, patterns, template
from dpe_cli.specs.findings import kinds
from dpe_cli.specs.gate import Verdict
from dpe_cli.specs.patterns import Pattern
from dpe_cli.specs.requirement import ASK
from dpe_cli.specs.spec import Spec, find, path_of, read_valid
from dpe_cli.words import did_you_mean, plural

_TICKET = re.compile(r"[A-Z][A-Z0-9]*-\d+")


@click.group(cls=Commands)
def spec() -> None:
    """Check specs against their sources, and write new ones."""


@spec.command()
@click.argument("specs", metavar="[SPEC]...", nargs=-1)
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the questions as Markdown, to be sent.",
)
@click.option(
    "--sarif",
    "sarif_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write SARIF, for a code host.",
)
@click.pass_obj
def check(app: App, specs: tuple[str, ...], report_file: Path | None, sarif_file: Path | None) -> Report:
    """
    Check that specs are clear, and true of their sources; exit status 1 if there is a question.

    SPEC is a ticket or a file; by default all in specs/ are checked. Reads each source, where the project declares it or else where
    the spec says that it is. What is unclear gets a question, and who has to answer it. Needs no server.
    """
    from dpe_cli.pipeline import spec_gate

    directory = app.project.specs_directory
    paths = [path_of(directory, wanted) for wanted in specs] or sorted(directory.glob("*-spec.md"))
    with ProgressDisplay() as progress:
        verdicts, errors = spec_gate.check(app.project, paths, progress)
    if report_file is not None:
        escalation.write(report_file, verdicts, directory=app.project_dir)
    if sarif_file is not None:
        sarif.write_specs(sarif_file, list(kinds().values()), verdicts, directory=app.project_dir)
    refused = [verdict for verdict in verdicts if not verdict.is_accepted]
    return Report(
        data={"specs": [_described(verdict, app.project_dir) for verdict in verdicts], "errors": [of_error(error) for error in errors]},
        headline=_headline(verdicts),
        sections=[section for verdict in verdicts for section in _sections(verdict)],
        verdict=f"{plural(len(errors), 'spec')} cannot be read" if errors else "",
        reasons=errors,
        exit_status=1 if refused or errors else 0,
    )


def _headline(verdicts: list[Verdict]) -> str:
    if not verdicts:
        return "specs/ has no spec; `dpe spec new` writes one"
    questions = sum(len(verdict.findings) for verdict in verdicts)
    clear = sum(verdict.is_accepted for verdict in verdicts)
    return (
        f"{plural(len(verdicts), 'spec')}: {clear} clear, {plural(questions, 'question')} about the others"
        if questions
        else f"{plural(len(verdicts), 'spec')}: nothing is unclear"
    )


def _sections(verdict: Verdict) -> list[Lines | Table]:
    requirement = verdict.requirement
    found: list[Lines | Table] = [
        Table(
            ["line", "kind", "what is unclear, and what to ask"],
            [row for finding in findings for row in ([str(finding.line), finding.kind.id, finding.what], ["", "", finding.question])],
            title=f"{requirement.path.name}: for {escalation.addressee(requirement, answers)}",
        )
        for answers, findings in escalation.by_addressee(verdict.findings)
    ]
    held = escalation.inspected(verdict)
    if held:
        found.append(
            Table(
                ["held against"], [[line] for line in held], title=f"{requirement.ticket}: {'clear' if verdict.is_accepted else 'refused'}"
            )
        )
    return found


def _described(verdict: Verdict, directory: Path) -> dict[str, object]:
    requirement = verdict.requirement
    path = requirement.path.resolve()
    return {
        "ticket": requirement.ticket,
        "file": str(path.relative_to(directory.resolve()) if path.is_relative_to(directory.resolve()) else requirement.path),
        "accepted": verdict.is_accepted,
        "findings": [
            {
                "id": finding.kind.id,
                "kind": finding.kind.name,
                "line": finding.line,
                "answers": finding.answers,
                "addressee": escalation.addressee(requirement, finding.answers),
                "what": finding.what,
                "question": finding.question,
            }
            for finding in verdict.findings
        ],
        "sources": [{"source": source.source, "records": source.records, "all": not source.is_cut} for source in verdict.inspected],
        "figures_compared": verdict.compared,
        "figures_not_compared": list(verdict.not_compared),
    }


@spec.command("list")
@click.pass_obj
def list_(app: App) -> Report:
    """List the specs, with what they load and publish."""
    found, faults = read_valid(app.project.specs_directory)
    rows = [
        [
            one.ticket,
            one.title,
            one.requirement.text_of("status").bare,
            one.owner,
            one.requirement.text_of("pattern").bare,
            len(one.sources),
            len(one.models),
            len(one.rules),
        ]
        for one in found
    ]
    return Report(
        data={"specs": [_asked(one) for one in found]},
        headline=plural(len(found), "spec"),
        sections=[Table(["ticket", "title", "status", "owner", "pattern", "sources", "tables", "rules"], rows)] if rows else [],
        reasons=[str(fault) for fault in faults],
        exit_status=1 if faults else 0,
    )


def _asked(one: Spec) -> dict[str, object]:
    """Return what a spec asks for, for programs."""
    return {
        "ticket": one.ticket,
        "title": one.title,
        "status": one.requirement.text_of("status").bare or None,
        "owner": one.owner,
        "pattern": one.requirement.text_of("pattern").bare or None,
        "file": one.path.name,
        "sources": list(one.sources),
        "models": list(one.models),
        "rules": list(one.rules),
    }


@spec.command()
@click.argument("wanted", metavar="SPEC")
@click.pass_obj
def show(app: App, wanted: str) -> Report:
    """Show what a spec asks for, and what was changed in it since its approval. SPEC is a ticket or a file."""
    from dpe_cli.specs import approval

    found = find(app.project.specs_directory, wanted)
    requirement, changes = found.requirement, approval.difference(found.path)
    state = "changed since" if changes else "kept" if approval.approved_text(found.path) is not None else "not kept"
    facts = {
        "title": found.title,
        "status": requirement.text_of("status").bare or None,
        "owner": found.owner,
        "approved by": requirement.text_of("approved_by").bare or None,
        "approval": state,
        "pattern": requirement.text_of("pattern").bare or None,
        "sources": ", ".join(found.sources),
        "tables": ", ".join(found.models),
        "rules": len(found.rules),
    }
    data = {**_asked(found), "approved_by": facts["approved by"], "approval": state, "changes": changes}
    sections: list[Facts | Lines] = [Facts(facts, title=found.ticket)]
    return Report(data=data, sections=[*sections, Lines(changes)] if changes else sections)


@spec.command()
@click.argument("wanted", metavar="SPEC")
@click.pass_obj
def approve(app: App, wanted: str) -> Report:
    """
    Keep the present text of a spec as the approved one; it has to be clear, and say who approved it.

    After an edit, the approval no longer counts: `dpe spec check` asks for it again. SPEC is a ticket or a file.
    """
    from dpe_cli.pipeline import spec_gate
    from dpe_cli.specs import approval

    path = path_of(app.project.specs_directory, wanted)
    with ProgressDisplay() as progress:
        verdicts, errors = spec_gate.check(app.project, [path], progress)
    if errors:
        raise errors[0]
    [verdict] = verdicts
    open_ = [finding for finding in verdict.findings if finding.kind.name != "approval_outdated"]
    requirement = verdict.requirement
    if open_:
        raise SpecError(f"{path.name}: {plural(len(open_), 'question')} not answered yet; see `dpe spec check {requirement.ticket}`")
    kept = approval.approve(path)
    by = requirement.text_of("approved_by").bare
    return Report(
        data={"ticket": requirement.ticket, "approved_by": by, "file": str(kept.relative_to(path.parent.parent))},
        headline=f"{requirement.ticket} is approved by {by}, as it is now",
    )


@spec.command("template")
@click.option("--pattern", metavar="NAME", help="The pattern to write it for; `patterns/` has the registered ones.")
@click.pass_obj
def template_(app: App, pattern: str | None) -> Report:
    """Print a spec in which each part says what belongs there."""
    text = template.form(_pattern(app, pattern))
    return Report(data={"text": text}, sections=[Lines(text.removesuffix("\n").split("\n"))])


@spec.command()
@click.argument("ticket", metavar="TICKET")
@click.argument("feature", metavar="FEATURE")
@click.option("--pattern", metavar="NAME", help="The pattern by which it is to be built.")
@click.option(
    "--source",
    "locations",
    multiple=True,
    metavar="LOCATION",
    help="A file, an API or a database that it needs; may be given several times.",
)
@click.option("--table", metavar="TABLE", help="The table, if LOCATION is a database.")
@click.pass_obj
def new(app: App, ticket: str, feature: str, pattern: str | None, locations: tuple[str, ...], table: str | None) -> Report:
    """
    Write a new spec, with what its sources hold already filled in.

    What only a person knows is marked TBD, and `dpe spec check` asks for it. FEATURE is a title, such as 'Carrier operations'.
    """
    from dpe_cli.infer.request import Request, inferred

    if not _TICKET.fullmatch(ticket):
        raise UsageError(f"TICKET: {ticket} is not a ticket; write it as capital letters and a number, as in DPE-101")
    path = app.project_dir / "specs" / template.file_name(ticket, feature)
    others = list(path.parent.glob(f"{ticket}-*spec.md"))
    if path.exists() or others:
        raise UsageError(f"specs/{(others or [path])[0].name}: already is the spec of {ticket}; edit it, or give another ticket")
    registered = _pattern(app, pattern)
    sources = [inferred(Request(location=location, table=table), app.project_dir) for location in locations]
    path.parent.mkdir(exist_ok=True)
    path.write_text(template.document(ticket, feature, registered, sources), encoding="utf-8")
    shown = str(path.relative_to(app.project_dir))
    return Report(
        data={"file": shown, "ticket": ticket, "sources": [source.name for source in sources]},
        headline=f"wrote {shown}",
        sections=[Lines([f"Answer what is marked {ASK}, then run `dpe spec check {ticket}`."])],
    )


def _pattern(app: App, name: str | None) -> Pattern | None:
    """Return a registered pattern."""
    if name is None:
        return None
    registered = patterns.registered(app.project_dir)
    if name not in registered:
        listed = ", ".join(registered)
        raise UnknownNameError(f"{name}: no such pattern; {did_you_mean(name, registered, f'registered are {listed}')}")
    return registered[name]
