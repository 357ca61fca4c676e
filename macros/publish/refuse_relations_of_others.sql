{#
    Refuse to build a model in the place of another project's, whose readers would see it instead: `schema`, `alias` and `database` may
    depend on the target. An on-run-start hook: nothing is built yet. `dpe run` looks before it loads (dpe_cli/pipeline/destinations.py).
#}
{% macro refuse_relations_of_others() %}

{% if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'clone', 'retry'] %}
    {% set schemas = [] %}
    {% set names = [] %}
    {% for unique_id in selected_resources if unique_id.split('.')[0] in ['model', 'seed', 'snapshot'] %}
        {% set node = graph.nodes[unique_id] %}
        {% if node.config.materialized != 'ephemeral' %}
            {% do schemas.append(dpe.published_schema(node)) %}
            {% do names.append(dpe.stored_name(node).identifier) %}
        {% endif %}
    {% endfor %}
    {% if names %}
        {% set packages = graph.nodes.values() | map(attribute='package_name') | unique | list %}
        {% for row in run_query(
            "select format('%I.%I', nspname, relname) as relation, split_part(node, '.', 2) as owner_project from dpe.protected_relations "
            ~ "inner join pg_class on pg_class.oid = relation_id inner join pg_namespace on pg_namespace.oid = relnamespace "
            ~ "inner join unnest(" ~ dpe.array_of_names(schemas) ~ ", " ~ dpe.array_of_names(names) ~ ") as own (schema_name, relation_name) "
            ~ "on nspname = schema_name and relname = relation_name "
            ~ "where split_part(node, '.', 2) <> all(" ~ dpe.array_of_names(packages) ~ ") "
            ~ "and split_part(node, '.', 2) in (select project from dpe.project_schemas) order by 1"
        ).rows %}
            {{ exceptions.raise_compiler_error(
                row['relation'] ~ ": belongs to the project " ~ row['owner_project'] ~ ", whose readers would see this project's model instead; "
                ~ "set another schema or alias for target " ~ target.name ~ ", or drop that relation if the project is gone"
            ) }}
        {% endfor %}
    {% endif %}
{% endif %}

{% endmacro %}
