{#
    Return the tests of the model that is being built with `on_failure: quarantine` in their meta, in the order of their rules.
#}
{% macro quarantining_tests() %}

{% set found = [] %}
{% for node in graph.nodes.values() if node.resource_type == 'test' and node.attached_node == model.unique_id %}
    {% set on_failure = (node.config.meta or {}).get('on_failure') %}
    {% if on_failure == 'quarantine' %}
        {% if not node.config.meta.rule %}
            {{ exceptions.raise_compiler_error(node.name ~ " (" ~ node.original_file_path ~ "): has no rule in its meta, which rows in quarantine need") }}
        {% endif %}
        {% do found.append(node) %}
    {% elif on_failure is not none %}
        {{ exceptions.raise_compiler_error(
            node.name ~ " (" ~ node.original_file_path ~ "): on_failure is " ~ on_failure ~ "; write quarantine, or omit it"
        ) }}
    {% endif %}
{% endfor %}
{{ return(found | sort(attribute='config.meta.rule')) }}

{% endmacro %}
