{#
    Fails each row whose text is not an e-mail address (WHATWG HTML, "valid e-mail address", with a dot in the domain). Does not
    check whether the address receives mail. A null passes.
#}
{% test is_email(model, column_name) %}

select *
from {{ model }}
where
    {{ dpe.quoted(column_name) }} !~ '^[A-Za-z0-9.!#$%&''*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$'

{% endtest %}
