{#
    A column's name as a quoted identifier of SQL; dbt's adapter.quote() does not double the quotes in it.
#}
{% macro quote_name(name) -%}
{{ return('"' ~ name | replace('"', '""') ~ '"') }}
{%- endmacro %}
