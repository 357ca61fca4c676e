{#
    Fails each row whose value precedes the one in `earlier_column`.
    A null on either side passes: presence is the business of `not_null`.
#}
{% test not_before(model, column_name, earlier_column) %}

select *
from {{ model }}
where {{ quoted(column_name) }} < {{ quoted(earlier_column) }}

{% endtest %}
