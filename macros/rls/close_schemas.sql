{#
    Take the use of the schemas in which this run built from readers that may no longer read anything in them: an on-run-end hook. For
    shadow schemas, publishing does that.
#}
{% macro close_schemas() %}

{% if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'retry'] and not dpe.schema_suffix() %}
    {% set built = results | selectattr('status', 'equalto', 'success') | map(attribute='node') | selectattr('relation_name') %}
    {% for schema in built | map(attribute='schema') | unique(case_sensitive=true) %}
        {% do dbt.run_query("begin; select dpe.close_schema(" ~ dpe.literal_of(schema) ~ "); commit") %}
    {% endfor %}
{% endif %}

{% endmacro %}
