{#
    Use a configured schema as it is written, without the target's in front of it: bootstrap has made these schemas.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}

{{ target.schema if custom_schema_name is none else custom_schema_name | trim }}

{%- endmacro %}
