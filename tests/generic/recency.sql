{#
    Fails each group, or without groups the whole relation, whose newest time in `field` is older than `interval` times
    `datepart`. A relation or group without a time fails; an empty relation with groups passes.
#}
{% test recency(model, datepart, field, interval, group_by_columns=[]) %}

select
    {%- for column in group_by_columns %}
    {{ dpe.quoted(column) }},
    {%- endfor %}
    max({{ dpe.quoted(field) }}) as most_recent
from {{ model }}
{%- if group_by_columns %}
group by {% for column in group_by_columns %}{{ dpe.quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}
{%- endif %}
having (max({{ dpe.quoted(field) }}) >= now() - {{ interval }} * interval '{{ '3 months' if datepart == 'quarter' else '1 ' ~ datepart }}') is not true

{% endtest %}
