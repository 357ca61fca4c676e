{#
    Refuse to build in a session whose search_path has a schema where others may create: an on-run-start hook. A reader's function
    there could be called instead of PostgreSQL's own, with the rights of the pipeline (CVE-2018-1058).
#}
{% macro require_safe_search_path() %}

{% if execute %}
    {% if dbt.run_query("select to_regprocedure('dpe.open_schemas(name[])') is null as is_missing").rows[0]['is_missing'] %}
        {{ exceptions.raise_compiler_error("the database is not bootstrapped for this version of dpe; run `dpe bootstrap`") }}
    {% endif %}
    {% for row in dbt.run_query("select schema_name from unnest(dpe.open_schemas(current_schemas(false))) as schema_name").rows %}
        {{ exceptions.raise_compiler_error(
            row['schema_name'] ~ ": others may create functions in this schema, which is in the search_path of dbt's session; "
            ~ "run dbt as `dpe dbt`, set PGOPTIONS with `eval \"$(dpe env)\"`, or revoke create on schema " ~ row['schema_name'] ~ " from them"
        ) }}
    {% endfor %}
{% endif %}

{% endmacro %}
