{#
    Return the relation of a node of the graph, for hooks and tests, which cannot `ref` every relation that they read. When `dpe run`
    builds in shadow schemas, the graph has these for what is being built, and the published ones for all the rest.
#}
{% macro relation_of(node) %}

{# Models have the names of their files, because dpe refuses those that PostgreSQL would fold. #}
{% set name = dpe.stored_name(node) if node.resource_type == 'source' else {'schema': node.schema, 'identifier': node.alias} %}
{{ return(api.Relation.create(database=node.database, schema=name.schema, identifier=name.identifier)) }}

{% endmacro %}
