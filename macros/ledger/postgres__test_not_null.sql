{#
    Select whole rows instead of dbt's column, whose values are all null: a stored failing row has to be identifiable. A test of the
    project's own takes precedence.
#}
{% macro postgres__test_not_null(model, column_name) %}

{% set next = dpe.next_implementation('test_not_null') %}
{% if next and next.macro.package_name == project_name %}
    {{ return(next(model, column_name)) }}
{% endif %}

select *
from {{ model }}
where {{ column_name }} is null

{% endmacro %}
