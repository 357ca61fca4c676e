{#
    Fails each group, or without groups the whole relation, in which the share of rows with a value is outside `at_least` and
    `at_most`. An empty relation passes.
#}
{% test not_null_proportion(model, column_name, at_least, at_most=1.0, group_by_columns=[]) %}

select
    {%- for column in group_by_columns %}
    {{ dpe.quoted(column) }},
    {%- endfor %}
    count(*) as row_count,
    count({{ dpe.quoted(column_name) }}) / count(*)::numeric as not_null_proportion
from {{ model }}
{%- if group_by_columns %}
group by {% for column in group_by_columns %}{{ dpe.quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}
{%- endif %}
having count(*) > 0 and count({{ dpe.quoted(column_name) }}) / count(*)::numeric not between {{ at_least }} and {{ at_most }}

{% endtest %}
