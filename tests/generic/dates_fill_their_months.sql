{#
    Fails each day without a row, in each month that has rows.
#}
{% test dates_fill_their_months(model, column_name) %}

with

present as (

    select distinct {{ dpe.quoted(column_name) }} as present_date from {{ model }}

),

months as (

    select distinct date_trunc('month', present_date) as first_day
    from present

),

expected as (

    select days.expected_at::date as expected_date
    from months
    cross join lateral generate_series(first_day, first_day + interval '1 month - 1 day', interval '1 day') as days (expected_at)

)

select expected.expected_date
from expected
left join present on expected.expected_date = present.present_date
where present.present_date is null

{% endtest %}
