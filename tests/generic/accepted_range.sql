{#
    Fails each row whose value is outside `min_value` and `max_value`, either optional; with `inclusive: false`, also
    one that equals either. A null passes: use `not_null` for that.
#}
{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}

select *
from {{ model }}
where
    false
    {%- if min_value is not none %}
    or {{ dpe.quoted(column_name) }} {{ '<' if inclusive else '<=' }} {{ min_value }}
    {%- endif %}
    {%- if max_value is not none %}
    or {{ dpe.quoted(column_name) }} {{ '>' if inclusive else '>=' }} {{ max_value }}
    {%- endif %}

{% endtest %}
