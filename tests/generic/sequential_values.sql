{#
    Fails each row whose value does not follow the one before it, in the order of the column, by exactly `interval`: a
    number, or with `datepart` so many of these. Nulls are left out.
#}
{% test sequential_values(model, column_name, interval=1, datepart=none, group_by_columns=[]) %}

{% set value = quoted(column_name) %}

with

ordered as (

    select
        *,
        lag({{ value }}) over (
            {%- if group_by_columns %}
            partition by {% for column in group_by_columns %}{{ quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}
            {%- endif %}
            order by {{ value }}
        ) as value_before
    from {{ model }}
    where {{ value }} is not null

)

select *
from ordered
{%- if datepart is none %}
where {{ value }} <> value_before + {{ interval }}
{%- else %}
where {{ value }} <> value_before + interval '{{ interval }} {{ datepart }}'
{%- endif %}

{% endtest %}
