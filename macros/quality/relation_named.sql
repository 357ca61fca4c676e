{#
    Return the relation that a test's argument names as `ref('…')` or `source('…', '…')`, or else the argument unchanged. A hook
    cannot `ref` a node that its model does not depend on.
#}
{% macro relation_named(argument) %}

{% set found = modules.re.fullmatch("\\s*(?:\\{\\{)?\\s*(ref|source)\\(\\s*['\"]([^'\"]+)['\"]\\s*(?:,\\s*['\"]([^'\"]+)['\"]\\s*)?\\)\\s*(?:\\}\\})?\\s*", argument) %}
{% if not found %}
    {{ return(argument) }}
{% endif %}

{% if found[1] == 'source' %}
    {% set nodes = graph.sources.values() | selectattr('source_name', 'equalto', found[2]) | selectattr('name', 'equalto', found[3]) | list %}
{% else %}
    {# Without a version, `ref` means the latest one. #}
    {% set nodes = [] %}
    {% for node in graph.nodes.values() if node.name == (found[3] or found[2]) and node.resource_type in ['model', 'seed', 'snapshot'] %}
        {% if (not found[3] or node.package_name == found[2]) and node.version == node.latest_version %}
            {% do nodes.append(node) %}
        {% endif %}
    {% endfor %}
{% endif %}
{% if nodes | length > 1 %}
    {{ exceptions.raise_compiler_error(
        model.name ~ " (" ~ model.original_file_path ~ "): a rule with on_failure: quarantine reads " ~ argument | trim ~ ", which "
        ~ (nodes | length) ~ " packages have; name the package in ref, or rename the source"
    ) }}
{% endif %}
{% set node = nodes | first %}
{% if node.resource_type != 'source' and node.unique_id not in model.depends_on.nodes %}
    {{ exceptions.raise_compiler_error(
        model.name ~ " (" ~ model.original_file_path ~ "): a rule with on_failure: quarantine reads " ~ node.name
        ~ ", which may be built after it; add the line `-- depends_on: {{ ref('" ~ node.name ~ "') }}` to the model"
    ) }}
{% endif %}
{{ return(dpe.relation_of(node)) }}

{% endmacro %}
