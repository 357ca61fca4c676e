{#
    Refuse a wrong declaration before the work, not after it, and sources that would run code of others. Make a table private if nothing else protects it before the commit: dbt's
    `test` materialization, which stores failures, does not grant.

    Relations of models, seeds and snapshots are protected only by postgres__apply_grants, so that dbt shows their number of rows.
#}
{% macro postgres__create_table_as(temporary, relation, sql) %}

{# Unit tests read rows of their own. #}
{% if model.resource_type != 'unit_test' %}
    {% do dpe.refuse_code_in_sources([model.unique_id], locks=true) %}
{% endif %}
{% if not temporary and model.resource_type in ['model', 'snapshot'] %}
    {% do dpe.rls_declaration() %}
{% endif %}

{{ dpe.next_implementation('create_table_as')(temporary, relation, sql) }}

{% if not temporary and config.get('materialized') not in ['table', 'incremental', 'snapshot'] %}
{{ dpe.protect_table(relation, {'private': true}, model.unique_id) }}
{% endif %}

{% endmacro %}
