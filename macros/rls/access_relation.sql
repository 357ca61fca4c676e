{#
    Return the published name of the relation in which a declaration's `access` looks up who may see what. By name, so that a
    newly published version of it counts at once. Versions of a model share a name, and so may models of two packages: `name.v2`
    or the unique id mean one of them.
#}
{% macro access_relation(access) %}

{% set found = [] %}
{% for node in graph.nodes.values() if node.resource_type in ['model', 'seed', 'snapshot'] %}
    {% set names = [node.name, node.name ~ '.v' ~ node.version, node.unique_id] %}
    {% if access.model in names and node.config.materialized != 'ephemeral' %}
        {% do found.append(node) %}
    {% endif %}
{% endfor %}
{% set declared = model.name ~ " (" ~ model.original_file_path ~ "): meta.rls looks up access in " ~ access.model %}
{% if not found %}
    {{ exceptions.raise_compiler_error(declared ~ ", which is not a model; name one") }}
{% elif found | length > 1 %}
    {{ exceptions.raise_compiler_error(
        declared ~ ", which is the name of " ~ (found | length) ~ " models; write one of "
        ~ (found | map(attribute='unique_id') | sort | join(', '))
    ) }}
{% endif %}
{{ return(dpe.quote_name(dpe.published_schema(found[0])) ~ '.' ~ dpe.quote_name(found[0].alias)) }}

{% endmacro %}
