{#
    Refuse to run in a session of another project or target than dbt's: an on-run-start hook. The ledger would show that one's
    rows, and record this run's results as that one's.
#}
{% macro require_own_session() %}

{% if execute %}
    {% set works_for = run_query("select nullif(current_setting('dpe.project', true), '') as project, nullif(current_setting('dpe.target', true), '') as target").rows[0] %}
    {% if works_for['project'] != project_name or works_for['target'] != target.name %}
        {{ exceptions.raise_compiler_error(
            "the session works for " ~ ("the target " ~ (works_for['target'] or "(none)") ~ " of the project " ~ works_for['project']
            if works_for['project'] else "no project") ~ ", and dbt for the target " ~ target.name ~ " of the project " ~ project_name
            ~ "; run dbt as `dpe dbt`, or run `eval \"$(dpe env)\"` in this project, with --target before `env` if it is not the default one"
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
