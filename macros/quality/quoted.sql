{#
    The quoted name of a column, unless it is already quoted: dbt quotes columns with `quote: true` before it passes them to tests.
#}
{% macro quoted(column) %}
    {{- column if column.startswith('"') else dpe.quote_name(column) -}}
{% endmacro %}
