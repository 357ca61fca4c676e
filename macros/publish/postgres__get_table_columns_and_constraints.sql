{#
    Make foreign keys refer to the published version of relations that are not being built: dbt resolves them without `ref`.
#}
{% macro postgres__get_table_columns_and_constraints() %}

{% set definitions = namespace(text=table_columns_and_constraints()) %}
{% if schema_suffix() %}
    {% for unique_id in model.depends_on.nodes if unique_id in graph.nodes %}
        {% set node = graph.nodes[unique_id] %}
        {% set shadow = api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias) %}
        {% set definitions.text = definitions.text | replace('references ' ~ shadow ~ ' (', 'references ' ~ published_or_next(node) ~ ' (') %}
    {% endfor %}
{% endif %}
{{ return(definitions.text) }}

{% endmacro %}
