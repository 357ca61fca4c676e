{#
    Use a configured schema unchanged, without the target's as a prefix: the demo has one target.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}

{{ target.schema if custom_schema_name is none else custom_schema_name | trim }}

{%- endmacro %}
