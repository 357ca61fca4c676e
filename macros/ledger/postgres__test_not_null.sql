{#
    Select whole rows instead of dbt's column, whose values are all null: a stored failing row has to be identifiable.
#}
{% macro postgres__test_not_null(model, column_name) %}

select *
from {{ model }}
where {{ column_name }} is null

{% endmacro %}
