{#
    Fails with one row if the sum of the column differs from that of `compare_column` (by default the same name) in the other
    relation by more than `tolerance`. The sum of no rows, or of nulls only, is 0.
#}
{% test equal_sums(model, column_name, compare_model, compare_column=none, tolerance=0) %}

with

sums as (

    select
        (select coalesce(sum({{ dpe.quoted(column_name) }}), 0) from {{ model }}) as column_sum,
        (select coalesce(sum({{ dpe.quoted(compare_column or column_name) }}), 0) from {{ compare_model }}) as compared_sum

)

select
    column_sum,
    compared_sum
from sums
where abs(column_sum - compared_sum) > {{ tolerance }}

{% endtest %}
