{#
    Return the relation of a node of the graph: beside what is published where it is being built there, else as published.
    For hooks and tests, which may not `ref` whatever they look at.
#}
{% macro published_or_next(node) %}

{% set relation = api.Relation.create(database=node.database, schema=node.schema, identifier=node.identifier or node.alias) %}
{% set suffix = schema_suffix() %}
{% if suffix and node.resource_type != 'source' and node.unique_id not in selected_resources %}
    {{ return(relation.replace_path(schema=relation.schema[:-(suffix | length)])) }}
{% endif %}
{{ return(relation) }}

{% endmacro %}
