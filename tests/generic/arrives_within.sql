{#
    Fails each row that came later than `interval` after its event. A null on either side passes.
#}
{% test arrives_within(model, column_name, event_column, interval) %}

select *
from {{ model }}
where {{ adapter.quote(column_name) }} > {{ adapter.quote(event_column) }} + interval '{{ interval }}'

{% endtest %}
