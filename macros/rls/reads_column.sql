{#
    Return whether a setting of dbt that is a column, or an expression, may read this column. dbt writes it into SQL without quotes, so that
    PostgreSQL folds names to lower case. An expression is taken to read each column whose name occurs in it.
#}
{% macro reads_column(expression, name, columns) %}

{% set folded = expression | trim | lower %}
{{ return(name == folded if folded in columns else name | lower in folded) }}

{% endmacro %}
