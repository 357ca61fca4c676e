{#
    Select whole rows where dbt selects the column, all of whose values are null: what is kept of a failing row has to say
    which row it is.
#}
{% macro postgres__test_not_null(model, column_name) %}

select *
from {{ model }}
where {{ column_name }} is null

{% endmacro %}
