{#
    Return the number of rows of each table that this run has built whole, by the model's unique id: dbt knows it, nothing
    is counted. What an incremental model adds is not the number of its rows.
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
