{#
    Refuse to build in published schemas what `dpe run` wants in shadow schemas, and the reverse: an on-run-start hook. dpe gives dbt the
    project with the schemas that it has to build in, so this happens only if dbt selects other nodes than dpe did.
#}
{% macro require_shadow_schemas() %}

{% set suffix = dpe.schema_suffix() %}
{% if execute and suffix and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'clone', 'retry'] %}
    {% for unique_id in selected_resources if unique_id.split('.')[0] in ['model', 'seed', 'snapshot'] %}
        {% set node = graph.nodes[unique_id] %}
        {% if node.config.materialized != 'ephemeral' and not node.schema.endswith(suffix) %}
            {{ exceptions.raise_compiler_error(
                node.name ~ " (" ~ node.original_file_path ~ "): would be built in " ~ node.schema ~ ", which readers see, instead of "
                ~ node.schema ~ suffix ~ "; run `dpe run`, or dbt without the variable dpe_schema_suffix"
            ) }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
