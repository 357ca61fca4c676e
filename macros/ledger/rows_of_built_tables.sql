{#
    Return the number of rows of each table that this run has built from scratch, by the model's unique id, as dbt reports it,
    without counting. An incremental model's number of added rows is not its number of rows.
#}
{% macro rows_of_built_tables(results) %}

{% set rows = {} %}
{% for result in results if result.node.resource_type in ['model', 'seed'] and result.node.config.materialized in ['table', 'seed'] %}
    {% set affected = (result.adapter_response or {}).get('rows_affected') %}
    {% if result.status == 'success' and affected is number and affected >= 0 %}
        {% do rows.update({result.node.unique_id: affected}) %}
    {% endif %}
{% endfor %}
{{ return(rows) }}

{% endmacro %}
