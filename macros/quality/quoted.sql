{#
    The name of a column as SQL reads it: quoted, unless it is. dbt quotes the columns of a model that say `quote: true`
    before it hands them to their tests.
#}
{% macro quoted(column) %}
    {{- column if column.startswith('"') else adapter.quote(column) -}}
{% endmacro %}
