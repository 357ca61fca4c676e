{#
    Fails each group, or the whole relation where there are no groups, whose newest time in `field` is older than so many
    `datepart`s. A relation, or a group, without a time fails; an empty relation with groups has none to fail.
#}
{% test recency(model, datepart, field, interval, group_by_columns=[]) %}

select
    {%- for column in group_by_columns %}
    {{ quoted(column) }},
    {%- endfor %}
    max({{ quoted(field) }}) as most_recent
from {{ model }}
{%- if group_by_columns %}
group by {% for column in group_by_columns %}{{ quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}
{%- endif %}
having (max({{ quoted(field) }}) >= now() - {{ interval }} * interval '{{ '3 months' if datepart == 'quarter' else '1 ' ~ datepart }}') is not true

{% endtest %}
