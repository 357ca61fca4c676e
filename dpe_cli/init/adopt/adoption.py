"""
Plan how an existing dbt project starts to use dpe: changes of its files, questions for a person, and what dpe will refuse in it.

Nothing is guessed: a model without an answer stays private.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.init import own_data
from dpe_cli.init.adopt import declarations, present, questions, refused, settings, statements
from dpe_cli.init.adopt.changes import Change, Changes
from dpe_cli.init.adopt.questions import Question
from dpe_cli.init.adopt.refused import Refusal
from dpe_cli.project import dbt, package, unapplied
from dpe_cli.project.dbt_inputs import profiles_file, settings_of
from dpe_cli.project.identity import rendered
from dpe_cli.project.model import Model, models_of
from dpe_cli.project.project import Project
from dpe_cli.safe_text import redaction
from dpe_cli.words import did_you_mean

_KINDS = ("models", "seeds", "snapshots")


@dataclass(frozen=True)
class Answers:
    """What a person decided: a tenant column, `shared` or `private` by model; and the roles that read what a target publishes."""

    rls: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Adoption:
    """
    The plan for a project. `private` are the models that no reader needs; `readers` are the roles by target, as far as they are named.

    `statements` are for an administrator of the present database, which `variables` name for libpq; `unknown` says why it could not be
    asked.
    """

    project: str
    changes: Sequence[Change]
    questions: Sequence[Question]
    private: Sequence[str]
    targets: Sequence[str]
    readers: Mapping[str, Sequence[str]]
    refusals: Sequence[Refusal]
    statements: Sequence[str]
    variables: Mapping[str, str]
    unknown: str | None


@dataclass(frozen=True)
class DbtOptions:
    """The options --profiles-dir, --target and --vars, as they were given."""

    profiles_dir: Path | None = None
    target: str | None = None
    variables: str | None = None


def plan(project: Project, given: DbtOptions, answers: Answers) -> Adoption:
    """
    Return the plan for a project; nothing is written.

    Raises:
        ProjectError: dbt cannot read the project, or one of its files cannot be extended safely.
        UsageError: an answer names no model, target or column.
    """
    manifest, without_effect = _read(project, given.variables)
    name, models = manifest["metadata"]["project_name"], models_of(manifest)
    profiles = profiles_file(project.directory, given.profiles_dir)
    profile_name, profile = _profile(project.directory, profiles, given.variables)
    outputs = settings.outputs(profile)
    redaction.remember(*settings.passwords(profile))
    known = present.look(
        outputs.get(project.target, {}),
        lambda value: rendered(value, given.variables),
        {*((model.schema, model.alias) for model in models.values()), *statements.sources(manifest)},
    )
    declared = questions.new_answers(manifest, models, known, answers.rls)
    for target in answers.readers:
        if target not in outputs:
            raise UsageError(f"--readers: {target}: the profile has no such target; {did_you_mean(target, outputs, 'name one of it')}")
    changes = Changes(project.directory)
    settings.add_package(changes)
    settings.put_first(changes, name)
    settings.connect_by_environment(changes, profile_name, profiles)
    settings.keep_out(changes)
    settings.add_variables(changes, name, known.variables)
    for unique_id, answer in declared.items():
        node, others = manifest["nodes"][unique_id], manifest["nodes"].values()
        declarations.declare(changes, node, own_data.as_declaration(answer), package=name, others=others)
    declarations.name_readers(changes, _published_kinds(models, declared), answers.readers)
    asked = [*questions.ask(manifest, models, known, declared)]
    return Adoption(
        project=name,
        changes=changes.all(),
        questions=asked,
        private=sorted({model.selector for model in models.values()}.difference(question.model for question in asked)),
        targets=sorted(outputs),
        readers={target: roles for kind in _KINDS for target, roles in declarations.named_readers(changes, kind).items()},
        refusals=[*refused.find(project.directory, manifest, profile, known), *without_effect],
        statements=statements.write(manifest, models.values(), known),
        variables=known.variables,
        unknown=known.unknown,
    )


def _read(project: Project, variables: str | None) -> tuple[Mapping[str, Any], list[Refusal]]:
    """
    Return dbt's manifest, and what the project declares without effect.

    This writes nothing into the project's directory, if it does not use dpe yet.
    """
    package.install(project.directory, lambda: dbt.invoke(["deps"], ["--project-dir", str(project.directory)]))
    with TemporaryDirectory(prefix="dpe-init-") as place:
        options = ["--no-write-json", "--target-path", place, "--log-path", place, "--no-send-anonymous-usage-stats"]
        outcome = dbt.invoke(["parse"], [*options, *project.dbt_options])
        found = [Refusal(fault.where, fault.what, fault.remedy) for fault in unapplied.find(project.directory, outcome.result, variables)]
        return json.loads(dbt.as_json(outcome.result)), found


def _profile(directory: Path, profiles: Path, variables: str | None) -> tuple[str, object]:
    """Return the name of the profile that dbt takes, and what profiles.yml says of it."""
    name = os.environ.get("DBT_PROFILE") or rendered(settings_of(directory / settings.SETTINGS).get("profile"), variables)
    found = settings_of(profiles).get(name)
    if found is None:
        raise ProjectError(f"{profiles}: has no profile {name}, which {settings.SETTINGS} names; add it, or correct the name")
    return name, found


def _published_kinds(models: Mapping[str, Model], answers: Mapping[str, str]) -> list[str]:
    """Return the kinds of resource among which something is published."""
    published = {
        unique_id.partition(".")[0]
        for unique_id, model in models.items()
        if (answers[unique_id] != own_data.PRIVATE if unique_id in answers else model.is_published)
    }
    return [kind for kind in _KINDS if kind.removesuffix("s") in published]
