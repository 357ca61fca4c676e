"""`dpe init --here`: the plan for an existing project, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report, Table
from dpe_cli.errors import UsageError
from dpe_cli.words import plural

if TYPE_CHECKING:
    from dpe_cli.init.adopt.adoption import Adoption
    from dpe_cli.init.adopt.questions import Question


def adopt(app: App, *, write: bool, answers: Sequence[str], readers: Sequence[str]) -> Report:
    """
    Plan the adoption of the project, and with `write` make the changes; `answers` and `readers` are as they were typed.

    Raises:
        ProjectError: dbt cannot read the project, or one of its files cannot be extended safely.
        UsageError: an answer is not of the right form, or names no model, target or column.
    """
    from dpe_cli.init.adopt import adoption, changes

    given = adoption.Answers(rls=dict(map(_answer, answers)), readers=dict(map(_readers, readers)))
    found = adoption.plan(app.project, adoption.DbtOptions(app.profiles_dir, app.target, app.vars), given)
    if write:
        changes.write(app.project_dir, found.changes)
    return _report(found, changes.diff(found.changes), is_written=write)


def _answer(given: str) -> tuple[str, str]:
    model, _, answer = given.partition("=")
    if not model or not answer:
        raise UsageError(f"--rls: {given}: names no model and answer; write MODEL=ANSWER, such as --rls fct_orders=country")
    return model, answer


def _readers(given: str) -> tuple[str, Sequence[str]]:
    from dpe_cli.init.adopt.declarations import USUAL_READERS

    target, _, roles = given.partition("=")
    return target, [role for role in roles.split(",") if role] or USUAL_READERS


def _report(found: Adoption, diff: Sequence[str], *, is_written: bool) -> Report:
    undecided = plural(sum(question.answer is None for question in found.questions), "model")
    return Report(
        data={
            "project": found.project,
            "written": is_written,
            "changes": [{"path": change.path, "is_new": change.before is None} for change in found.changes],
            "diff": list(diff),
            "questions": [asdict(question) for question in found.questions],
            "private": list(found.private),
            "targets": list(found.targets),
            "readers": {target: list(roles) for target, roles in found.readers.items()},
            "refused": [asdict(refusal) for refusal in found.refusals],
            "statements": list(found.statements),
            "database": dict(found.variables),
            "not_asked": found.unknown,
        },
        headline=(
            f"{found.project}: {plural(len(found.changes), 'file')} {'changed' if is_written else 'would change'}; "
            f"to decide: {undecided}{'' if found.readers else ', and the readers of a target'}"
        ),
        sections=[
            *([Lines(["", *diff])] if diff else []),
            *_decisions(found),
            *_refused(found),
            *_statements(found),
            Lines(["", *_next(found, is_written=is_written)]),
        ],
    )


def _decisions(found: Adoption) -> list[Table | Lines]:
    rows = [
        [
            question.model,
            question.answer or "private, unless you answer",
            ", ".join(question.read_by),
            ", ".join(question.wanted_by),
            ", ".join(question.tenant_columns),
        ]
        for question in found.questions
    ]
    columns = ["model", "who may see which rows", "read today by", "why readers may need it", "possible tenant columns"]
    table = [Table(columns, rows, title="Decide for each model")] if rows else []
    return [
        *table,
        *([Lines([f"Private, because no reader, exposure or answer needs them: {', '.join(found.private)}"])] if found.private else []),
    ]


def _refused(found: Adoption) -> list[Table]:
    rows = [[refusal.where, refusal.what, refusal.remedy] for refusal in found.refusals]
    return [Table(["where", "what", "what to do"], rows, title="dpe will refuse")] if rows else []


def _statements(found: Adoption) -> list[Lines]:
    if not found.statements:
        return []
    return [Lines(["", "An administrator of the current database runs, after `dpe bootstrap`:", *found.statements])]


def _next(found: Adoption, *, is_written: bool) -> list[str]:
    lines = []
    if found.unknown:
        lines.append(f"Who can read the models today is not known: {found.unknown}")
    if losing := sorted({role for question in found.questions for role in question.read_by}):
        lines += [
            f"From then on, {', '.join(losing)} will see only what readers are granted: `dpe access grant LOGIN TENANT` grants the rows of",
            "a tenant and what is shared, `grant dpe_reader to LOGIN` only what is shared",
        ]
    if example := _example(found.questions):
        lines.append(f"Answer with --rls MODEL=ANSWER, where ANSWER is a tenant column, shared or private, such as --rls {example}")
    if not found.readers:
        lines.append(
            f"Which target do readers use? --readers TARGET ({' or '.join(found.targets)}). Until you say, no reader sees anything"
        )
    if found.changes and not is_written:
        return [*lines, "Nothing was written; repeat with --write to make these changes"]
    if not found.statements:
        return [*lines, "Next: dpe run"]
    return [
        *lines,
        "Next: copy .env.example to .env and fill it in; then `dpe bootstrap` as an administrator, the statements above, and `dpe run`",
    ]


def _example(questions: Sequence[Question]) -> str | None:
    """Return an answer to the first open question."""
    for question in sorted(questions, key=lambda question: not question.read_by):
        if question.answer is None:
            return f"{question.model}={next(iter(question.tenant_columns), 'shared')}"
    return None
