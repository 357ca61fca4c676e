{#
    Return the columns that identify each model's rows, by unique id: its unique_key, or those of a uniqueness test on all its rows.
    A test of the model itself has its column as an argument, which may be anything that YAML can write.
#}
{% macro keys_of_models() %}

{% set keys = {} %}
{% for node in graph.nodes.values() %}
    {% set test = (node.test_metadata if node.resource_type == 'test' else none) or {} %}
    {% if node.config.unique_key %}
        {% do keys.update({node.unique_id: [node.config.unique_key] if node.config.unique_key is string else node.config.unique_key}) %}
    {% elif test.name in ['unique', 'unique_combination_of_columns'] and node.attached_node and not node.config.where %}
        {% set given = test.kwargs or {} %}
        {% set columns = [node.column_name or given.column_name] if test.name == 'unique' else given.combination_of_columns %}
        {% if columns and columns is sequence and columns is not string and not columns | reject('string') | list %}
            {% do keys.setdefault(node.attached_node, columns) %}
        {% endif %}
    {% endif %}
{% endfor %}
{{ return(keys) }}

{% endmacro %}
