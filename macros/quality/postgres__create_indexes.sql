{#
    Take the rows that break rules out of a table (quarantine) before anything can fail on them: the indexes of its configuration
    and the hooks of its author, in this order. Then create the indexes, as dbt does.
#}
{% macro postgres__create_indexes(relation) %}

{% if model.resource_type == 'model' and config.get('materialized') == 'table' %}
    {% set statements = quarantine(relation) | trim %}
    {% if statements %}
        {% call statement('quarantine') %}{{ statements }}{% endcall %}
    {% endif %}
{% endif %}
{{ return(dbt.default__create_indexes(relation)) }}

{% endmacro %}
