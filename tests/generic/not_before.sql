{#
    Fails each row whose value precedes the one in `earlier_column`.
    A null on either side passes: use `not_null` for that.
#}
{% test not_before(model, column_name, earlier_column) %}

select *
from {{ model }}
where {{ quoted(column_name) }} < {{ quoted(earlier_column) }}

{% endtest %}
