{#
    Create a schema, in a session that works for the project: dbt creates missing schemas before it calls any hook, and one of another
    login could not be used by dpe_transformer.
#}
{% macro postgres__create_schema(relation) %}

{% do dpe.require_own_session() %}
{{ dbt.postgres__create_schema(relation) }}

{% endmacro %}
