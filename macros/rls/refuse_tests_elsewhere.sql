{#
    Refuse tests that would store their failures outside of the schema for failures: dbt would drop a relation of that name there, such as
    a published one or a masked readers' view. An on-run-start hook: nothing is built yet.
#}
{% macro refuse_tests_elsewhere() %}

{% if execute %}
    {% for node in graph.nodes.values() if node.unique_id in selected_resources and node.resource_type == 'test' %}
        {% set stores = node.config.store_failures or (flags.STORE_FAILURES and node.config.store_failures is none) %}
        {% if stores and node.config.store_failures_as != 'ephemeral' and node.schema != 'quality' %}
            {{ exceptions.raise_compiler_error(
                node.name ~ " (" ~ node.original_file_path ~ "): stores its failures as " ~ node.schema ~ "." ~ node.alias
                ~ ", and would replace a relation of that name; store them in the schema quality"
            ) }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
