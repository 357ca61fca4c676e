{#
    Return the schema in which a node of the graph is published: its own, without the suffix of the shadow schema in which it may be built.
#}
{% macro published_schema(node) %}

{% set suffix = dpe.schema_suffix() %}
{{ return(node.schema[:-(suffix | length)] if suffix and node.schema.endswith(suffix) else node.schema) }}

{% endmacro %}
