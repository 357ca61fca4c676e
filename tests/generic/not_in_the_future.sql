{#
    Fails each row whose time is later than now by more than `tolerance`, an interval. A null passes.
#}
{% test not_in_the_future(model, column_name, tolerance='0 seconds') %}

select *
from {{ model }}
where {{ dpe.quoted(column_name) }} > now() + interval '{{ tolerance }}'

{% endtest %}
