{#
    Protect a table as private before its author's hooks run, which may commit, and quarantine the rows that break rules before
    anything can fail on them: the configured indexes, and the hooks. Then create the indexes, as dbt does.
#}
{% macro postgres__create_indexes(relation) %}

{% if model.resource_type == 'model' and config.get('materialized') == 'table' %}
    {% call statement('quarantine') %}
        {{ dpe.protect_table(relation, {'private': true}, model.unique_id) }}
        {{ dpe.quarantine(relation) }}
    {% endcall %}
{% endif %}
{{ return(dpe.next_implementation('create_indexes')(relation)) }}

{% endmacro %}
