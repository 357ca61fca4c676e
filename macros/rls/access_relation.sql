{#
    Return the published name of the relation in which a declaration's `access` looks up who may see what. By name, so that a
    newly published version of it counts at once.
#}
{% macro access_relation(access) %}

{% for node in graph.nodes.values() if node.name == access.model and node.resource_type in ['model', 'seed', 'snapshot'] %}
    {% set suffix = schema_suffix() %}
    {% set schema = node.schema[:-(suffix | length)] if suffix and node.schema.endswith(suffix) else node.schema %}
    {{ return(adapter.quote(schema) ~ '.' ~ adapter.quote(node.alias)) }}
{% endfor %}
{{ exceptions.raise_compiler_error(
    model.name ~ " (" ~ model.original_file_path ~ "): meta.rls looks up access in " ~ access.model ~ ", which is not a model; name one"
) }}

{% endmacro %}
