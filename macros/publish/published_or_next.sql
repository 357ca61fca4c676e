{#
    Return the relation of a node of the graph: in the shadow schema if it is being built there, else the published one.
    For hooks and tests, which cannot `ref` every relation that they read.
#}
{% macro published_or_next(node) %}

{% set relation = api.Relation.create(database=node.database, schema=node.schema, identifier=node.identifier or node.alias) %}
{% set suffix = schema_suffix() %}
{% if suffix and node.resource_type != 'source' and node.unique_id not in selected_resources %}
    {{ return(relation.replace_path(schema=relation.schema[:-(suffix | length)])) }}
{% endif %}
{{ return(relation) }}

{% endmacro %}
