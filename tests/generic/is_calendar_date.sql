{#
    Fails each row whose year, month and day, three numbers, are not a calendar date. A null fails, too.
#}
{% test is_calendar_date(model, year_column, month_column, day_column) %}

{% set year = dpe.quoted(year_column) %}
{% set month = dpe.quoted(month_column) %}
{% set day = dpe.quoted(day_column) %}

select *
from {{ model }}
where
    case
        when {{ year }} between 1 and 9999 and {{ month }} between 1 and 12
            then {{ day }} between 1 and extract(
                day from make_date({{ year }}::integer, {{ month }}::integer, 1) + interval '1 month - 1 day'
            )
        else false
    end is not true

{% endtest %}
