{#
    Return the relation of a node of the graph, for hooks and tests, which cannot `ref` every relation that they read. When `dpe run`
    builds in shadow schemas, the graph has these for what is being built, and the published ones for all the rest.
#}
{% macro relation_of(node) %}

{{ return(api.Relation.create(database=node.database, schema=node.schema, identifier=node.identifier or node.alias)) }}

{% endmacro %}
