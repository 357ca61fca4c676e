{#
    Fails each row whose value does not match the POSIX regular expression. A null passes.
#}
{% test matches_pattern(model, column_name, pattern) %}

select *
from {{ model }}
where {{ dpe.quoted(column_name) }} !~ {{ dpe.literal_of(pattern) }}

{% endtest %}
