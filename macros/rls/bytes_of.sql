{#
    How many bytes a name has: PostgreSQL keeps the first 63.
#}
{% macro bytes_of(name) -%}
{{ return(name.encode() | length) }}
{%- endmacro %}
