{#
    Refuse tests that would store their failures in a schema of models, seeds, snapshots or sources, or in one that is not for them: dbt
    would drop a relation of that name there, such as a published one or a masked readers' view. An on-run-start hook: nothing is built yet.
#}
{% macro refuse_tests_elsewhere() %}

{% if execute %}
    {% set taken = [] %}
    {% for source in graph.sources.values() %}
        {% do taken.append(dpe.stored_name(source).schema) %}
    {% endfor %}
    {% for node in graph.nodes.values() if node.resource_type in ['model', 'seed', 'snapshot'] and node.config.materialized != 'ephemeral' %}
        {% do taken.append(dpe.published_schema(node)) %}
    {% endfor %}
    {% for node in graph.nodes.values() if node.unique_id in selected_resources and node.resource_type == 'test' %}
        {% set stores = node.config.store_failures or (flags.STORE_FAILURES and node.config.store_failures is none) %}
        {% if stores and node.config.store_failures_as != 'ephemeral'
            and (node.schema in taken or dpe.is_reserved_schema(node.schema)) %}
            {{ exceptions.raise_compiler_error(
                node.name ~ " (" ~ node.original_file_path ~ "): stores its failures as " ~ node.schema ~ "." ~ node.alias
                ~ ", and would replace a relation of that name; store them in a schema of their own (data_tests: +schema)"
            ) }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
