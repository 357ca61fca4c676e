{#
    Copy relations that dbt updates in place (incremental models, snapshots) into the shadow schema, before they are built there:
    an on-run-start hook. The copies are protected in the transaction that creates them.
#}
{% macro clone_published() %}

{% set suffix = dpe.schema_suffix() %}
{% if execute and suffix and flags.WHICH in ['build', 'run', 'snapshot', 'retry'] %}
    {% for unique_id in selected_resources if unique_id.startswith('model.') or unique_id.startswith('snapshot.') %}
        {% set node = graph.nodes[unique_id] %}
        {% set is_kept = node.resource_type == 'snapshot'
            or (node.config.materialized == 'incremental' and not (flags.FULL_REFRESH and node.config.full_refresh is not sameas false)) %}
        {% if is_kept %}
            {% set copy = api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias, type='table') %}
            {% set published = copy.replace_path(schema=dpe.published_schema(node)) %}
            {% set present = adapter.get_relation(published.database, published.schema, published.identifier) %}
            {# A view that becomes incremental is built from scratch, as in dbt. #}
            {% if present is not none and present.type == 'table' %}
                {% do adapter.create_schema(copy) %}
                {% set declared = (node.config.meta or {}).get('rls') %}
                {% set declaration = declared if declared is mapping else {'private': true} %}
                {# If a policy's column is still missing, no reader sees the copy until apply_policies has it. #}
                {% set names = adapter.get_columns_in_relation(present) | map(attribute='name') | list %}
                {% set is_complete = dpe.policy_columns(declaration) | reject('in', names) | list | length == 0 %}
                {% set masked = dpe.masked_columns(node) | select('in', names) | list %}
                {% if not is_complete %}
                    {% set declaration = {'private': true} %}
                {% endif %}
                {% set readers = dpe.readers_of(node, declaration) %}
                {% do dbt.run_query(dpe.clone_table(published, copy, declaration, readers, masked, unique_id)) %}
                {% do adapter.cache_added(copy) %}
            {% endif %}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
