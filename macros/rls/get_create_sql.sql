{#
    Protect stored test failures in the statement that creates them: dbt's test materialization runs no hooks.
    Everything else is created as dbt does it, and protected by apply_policies.
#}
{% macro postgres__get_create_sql(relation, sql) %}

{{ default__get_create_sql(relation, sql) }}

{% if model.resource_type == 'test' %}
;
    {% if relation.is_view %}
        {{ protect_view(relation, {'private': true}) }}
    {% else %}
        {{ protect_table(relation, {'private': true}) }}
    {% endif %}
{% endif %}

{% endmacro %}
