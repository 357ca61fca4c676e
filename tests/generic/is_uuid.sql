{#
    Fails each row whose text is not a UUID in its usual form, 8-4-4-4-12 hexadecimal digits (RFC 9562). A null passes.
#}
{% test is_uuid(model, column_name) %}

select *
from {{ model }}
where {{ dpe.quoted(column_name) }}::text !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'

{% endtest %}
