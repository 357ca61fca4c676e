{#
    Fails with one row if the two relations do not have the same number of rows.
#}
{% test equal_rowcount(model, compare_model) %}

with

counts as (

    select
        (select count(*) from {{ model }}) as row_count,
        (select count(*) from {{ compare_model }}) as compared_row_count

)

select
    row_count,
    compared_row_count
from counts
where row_count <> compared_row_count

{% endtest %}
