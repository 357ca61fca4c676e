{#
    Fails each row whose year, month and day, three numbers, are no day of the calendar. A null fails too: it makes no date.
#}
{% test is_calendar_date(model, year_column, month_column, day_column) %}

select *
from {{ model }}
where
    case
        when {{ year_column }} between 1 and 9999 and {{ month_column }} between 1 and 12
            then {{ day_column }} between 1 and extract(
                day from make_date({{ year_column }}, {{ month_column }}, 1) + interval '1 month - 1 day'
            )
        else false
    end is not true

{% endtest %}
