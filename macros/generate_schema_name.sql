{#
    Use a configured schema unchanged, without the target's as a prefix: bootstrap created these schemas.
    Relations that will be published later get a shadow schema. Stored failures are never published, so they have one schema.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}

{{ target.schema if custom_schema_name is none else custom_schema_name | trim }}
{%- if node.resource_type in ['model', 'seed', 'snapshot'] -%}
{{ schema_suffix() }}
{%- endif -%}

{%- endmacro %}
