{#
    Return whether the database has the functions that remember_rules calls.
#}
{% macro has_memory_of_rules() %}

{% set found = dbt.run_query(
    "select 1 as one from pg_proc inner join pg_namespace on pg_namespace.oid = pronamespace"
    ~ " where nspname = 'dpe' and proname in ('remember_rules', 'resolve_failures_of_other_tests') and has_schema_privilege(pg_namespace.oid, 'usage')"
) %}
{{ return(found | length == 2) }}

{% endmacro %}
