{#
    Fails each row that arrived later than `interval` after its event. A null on either side passes.
#}
{% test arrives_within(model, column_name, event_column, interval) %}

select *
from {{ model }}
where {{ dpe.quoted(column_name) }} > {{ dpe.quoted(event_column) }} + interval '{{ interval }}'

{% endtest %}
