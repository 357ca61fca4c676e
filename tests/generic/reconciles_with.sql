{#
    Fails each group, or all where there are no groups, in which the number of rows, or with a column the sum of it, differs
    from that in the other relation by more than `tolerance`. A group that only one side has counts 0 on the other.
#}
{% test reconciles_with(model, compare_model, column_name=none, compare_column=none, group_by_columns=[], tolerance=0) %}

with

own as (

    select
        row({% for column in group_by_columns %}{{ adapter.quote(column) }}{{ ', ' if not loop.last }}{% endfor %})::text as grouped_by,
        {{ 'coalesce(sum(' ~ adapter.quote(column_name) ~ '), 0)' if column_name else 'count(*)' }}::numeric as measure
    from {{ model }}
    group by 1

),

other as (

    select
        row({% for column in group_by_columns %}{{ adapter.quote(column) }}{{ ', ' if not loop.last }}{% endfor %})::text as grouped_by,
        {{ 'coalesce(sum(' ~ adapter.quote(compare_column or column_name) ~ '), 0)' if column_name else 'count(*)' }}::numeric as measure
    from {{ compare_model }}
    group by 1

)

select
    coalesce(own.grouped_by, other.grouped_by) as grouped_by,
    coalesce(own.measure, 0) as measure,
    coalesce(other.measure, 0) as compared_measure
from own
full join other on own.grouped_by = other.grouped_by
where abs(coalesce(own.measure, 0) - coalesce(other.measure, 0)) > {{ tolerance }}

{% endtest %}
