{#
    Fails each row whose value is not exactly `interval` after the previous value of the column: a number, or with `datepart`
    a number of these (including quarters). Nulls are ignored.
#}
{% test sequential_values(model, column_name, interval=1, datepart=none, group_by_columns=[]) %}

{% set value = dpe.quoted(column_name) %}

with

ordered as (

    select
        *,
        lag({{ value }}) over (
            {%- if group_by_columns %}
            partition by {% for column in group_by_columns %}{{ dpe.quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}
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
{# PostgreSQL has intervals of all units except quarters. #}
where {{ value }} <> value_before + {{ 3 if datepart == 'quarter' else 1 }} * interval '{{ interval }} {{ 'month' if datepart == 'quarter' else datepart }}'
{%- endif %}

{% endtest %}
