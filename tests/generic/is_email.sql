{#
    Fails each row whose text is no e-mail address as people have them (WHATWG HTML, "valid e-mail address", with a dot in
    the domain). Whether it receives mail, nobody can tell from it. A null passes.
#}
{% test is_email(model, column_name) %}

select *
from {{ model }}
where
    {{ quoted(column_name) }} !~ '^[A-Za-z0-9.!#$%&''*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$'

{% endtest %}
