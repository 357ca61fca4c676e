{#
    Let readers and administrators use the schema of a relation that they may read, unless it is a shadow schema: publishing opens the
    published one.
#}
{% macro open_schema(relation) %}

{% if not dpe.schema_suffix() or not relation.schema.endswith(dpe.schema_suffix()) %}
select dpe.open_schema({{ dpe.literal_of(relation.schema) }}, {{ dpe.regclass_of(relation) }});
{% endif %}

{% endmacro %}
