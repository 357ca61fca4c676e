{#
    Refuse a wrong declaration before the work is done, not after it, and create a table that only the pipeline sees where
    no hook protects it before it is committed: dbt's `test` materialization, which stores failures, runs none, and
    `microbatch` commits each batch, but runs the post-hooks after the last one only. apply_policies opens the latter.

    What the other materializations create is protected by apply_policies alone, so that dbt shows its number of rows.
#}
{% macro postgres__create_table_as(temporary, relation, sql) %}

{% set materialized = config.get('materialized') %}
{% if not temporary and model.resource_type in ['model', 'snapshot'] %}
    {% do rls_declaration() %}
{% endif %}

{{ dbt.postgres__create_table_as(temporary, relation, sql) }}

{% set has_hooks = materialized in ['table', 'incremental', 'snapshot'] and config.get('incremental_strategy') != 'microbatch' %}
{% if not temporary and not has_hooks %}
{{ protect_table(relation, {'private': true}) }}
{% endif %}

{% endmacro %}
