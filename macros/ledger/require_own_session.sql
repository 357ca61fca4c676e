{#
    Refuse to run in a session without the variables of `dpe env`, or with those of another project or target: an on-run-start hook. The
    ledger would show that one's rows, and record this run's results as that one's.

    The first thing that a user sees: dbt calls it before it creates schemas, which would belong to the wrong role, and before the hooks
    that call functions of dpe. The search_path may not be safe yet, so names have their schemas, and nothing is compared.
#}
{% macro require_own_session() %}

{% if execute %}
    {# A macro of the project may have the name: the first hook refuses it later. #}
    {% set session = dbt.run_query(
        "select pg_catalog.current_setting('dpe.project', true) as project, pg_catalog.current_setting('dpe.target', true) as target, "
        ~ "current_user as login, "
        ~ "pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('dpe')::pg_catalog.oid, 'usage') as may_use_dpe"
    ).rows[0] %}
    {% set faults = [] %}
    {% if session['project'] != project_name or session['target'] != target.name %}
        {% do faults.append(
            "the session works for " ~ ("the target " ~ (session['target'] or "(none)") ~ " of the project " ~ session['project']
            if session['project'] else "no project") ~ ", and dbt for the target " ~ target.name ~ " of the project " ~ project_name
        ) %}
    {% endif %}
    {# Without the schema, the database is not bootstrapped. #}
    {% if session['may_use_dpe'] is sameas false %}
        {% do faults.append("dbt is connected as " ~ session['login'] ~ ", and dpe's macros need dpe_transformer") %}
    {% endif %}
    {% if faults %}
        {{ exceptions.raise_compiler_error(
            "run `dpe dbt …` instead of `dbt …`, or `eval \"$(dpe env)\"` first, in this project and with --target before `env` if it is not "
            ~ "the default one: " ~ faults | join('; ')
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
