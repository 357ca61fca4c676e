{#
    Fails each value that only one of the two columns has, and returns which; `compare_column` has the same name by default.
    Nulls are ignored.
#}
{% test equal_sets(model, column_name, compare_model, compare_column=none) %}

with

own as (

    select distinct {{ dpe.quoted(column_name) }} as compared_value
    from {{ model }}
    where {{ dpe.quoted(column_name) }} is not null

),

other as (

    select distinct {{ dpe.quoted(compare_column or column_name) }} as compared_value
    from {{ compare_model }}
    where {{ dpe.quoted(compare_column or column_name) }} is not null

)

select
    coalesce(own.compared_value, other.compared_value) as compared_value,
    case when own.compared_value is null then 'missing' else 'not in the other' end as what
from own
full join other on own.compared_value = other.compared_value
where own.compared_value is null or other.compared_value is null

{% endtest %}
