{#
    Use a configured schema as it is written, without the target's in front of it: bootstrap has made these schemas.
    What is built to be published later goes beside it. Stored failures are never published, so they have one place.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}

{{ target.schema if custom_schema_name is none else custom_schema_name | trim }}
{%- if node.resource_type in ['model', 'seed', 'snapshot'] -%}
{{ schema_suffix() }}
{%- endif -%}

{%- endmacro %}
