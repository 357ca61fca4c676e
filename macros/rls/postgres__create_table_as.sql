{#
    Refuse a wrong declaration before the work is done, not after it, and create a table that only the pipeline sees where nothing
    protects it before it is committed: dbt's `test` materialization, which stores failures, grants nothing.

    What models, seeds and snapshots create is protected by postgres__apply_grants alone, so that dbt shows its number of rows.
#}
{% macro postgres__create_table_as(temporary, relation, sql) %}

{% if not temporary and model.resource_type in ['model', 'snapshot'] %}
    {% do rls_declaration() %}
{% endif %}

{{ dbt.postgres__create_table_as(temporary, relation, sql) }}

{% if not temporary and config.get('materialized') not in ['table', 'incremental', 'snapshot'] %}
{{ protect_table(relation, {'private': true}, model.unique_id) }}
{% endif %}

{% endmacro %}
