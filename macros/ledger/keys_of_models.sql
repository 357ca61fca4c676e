{#
    Return the columns that identify each model's rows, by unique id: its unique_key, or those of a uniqueness test on all its rows.
#}
{% macro keys_of_models() %}

{% set keys = {} %}
{% for node in graph.nodes.values() %}
    {% set kind = (node.test_metadata or {}).get('name') if node.resource_type == 'test' else none %}
    {% if node.config.unique_key %}
        {% do keys.update({node.unique_id: [node.config.unique_key] if node.config.unique_key is string else node.config.unique_key}) %}
    {% elif kind in ['unique', 'unique_combination_of_columns'] and node.attached_node and not node.config.where %}
        {% do keys.setdefault(
            node.attached_node, [node.column_name] if kind == 'unique' else node.test_metadata.kwargs.combination_of_columns
        ) %}
    {% endif %}
{% endfor %}
{{ return(keys) }}

{% endmacro %}
