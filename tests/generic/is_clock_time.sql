{#
    Fails each row whose number is not a time of day written as hhmm. Midnight is 0 or 2400. A null passes.
#}
{% test is_clock_time(model, column_name) %}

select *
from {{ model }}
where
    {{ dpe.quoted(column_name) }} not between 0 and 2400
    or {{ dpe.quoted(column_name) }} % 100 > 59

{% endtest %}
