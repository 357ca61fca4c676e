{#
    Let foreign keys refer to the published version of what is not being built: dbt resolves them without asking `ref`.
#}
{% macro postgres__get_table_columns_and_constraints() %}

{% set definitions = namespace(text=table_columns_and_constraints()) %}
{% if schema_suffix() %}
    {% for unique_id in model.depends_on.nodes if unique_id in graph.nodes %}
        {% set node = graph.nodes[unique_id] %}
        {% set beside = api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias) %}
        {% set definitions.text = definitions.text | replace('references ' ~ beside ~ ' (', 'references ' ~ published_or_next(node) ~ ' (') %}
    {% endfor %}
{% endif %}
{{ return(definitions.text) }}

{% endmacro %}
