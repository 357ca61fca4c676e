"""The ledger as it was before it knew projects: what an administrator has to run in a bootstrapped database to get it."""

WITHOUT_PROJECTS = """
    drop table dpe.staged_relations, dpe.project_schemas;
    alter table dpe.extracts drop column project cascade, drop column relation cascade;
    alter table dpe.loads drop column project cascade, drop column relation cascade;
    alter table dpe.rejects drop column project cascade, drop column relation cascade;
    alter table dpe.publications drop column project cascade, drop column target cascade;
    alter table dpe.notifications drop column project cascade, drop column target cascade;
    alter table dpe.rule_results drop column project cascade, drop column target cascade;
    alter table dpe.rule_failures drop column project cascade, drop column target cascade;
    alter table dpe.rule_failures add primary key (test_id, row_hash);
    comment on schema dpe is 'Bootstrapped by an older dpe.';
"""
