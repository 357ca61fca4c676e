{#
    Fails each day without a row between the first and the last date of the column. A time counts for its day.
#}
{% test dates_have_no_gaps(model, column_name) %}

with

present as (

    select distinct {{ dpe.quoted(column_name) }}::date as present_date from {{ model }}

),

expected as (

    select generate_series(min(present_date), max(present_date), interval '1 day')::date as expected_date
    from present

)

select expected_date
from expected
left join present on expected_date = present_date
where present_date is null

{% endtest %}
