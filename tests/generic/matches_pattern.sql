{#
    Fails each row whose value does not match the POSIX regular expression. A null passes.
#}
{% test matches_pattern(model, column_name, pattern) %}

select {{ column_name }}
from {{ model }}
where {{ column_name }} !~ '{{ pattern }}'

{% endtest %}
