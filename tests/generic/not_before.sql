{#
    Fails each row whose value precedes the one in `earlier_column`.
    A null on either side passes: use `not_null` for that.
#}
{% test not_before(model, column_name, earlier_column) %}

select *
from {{ model }}
where {{ dpe.quoted(column_name) }} < {{ dpe.quoted(earlier_column) }}

{% endtest %}
