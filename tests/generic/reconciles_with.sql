{#
    Fails each group, or without groups the whole relation, whose number of rows, or sum of the column if there is one, differs
    from that in the other relation by more than `tolerance`. A group that only one side has counts 0 on the other.
#}
{% test reconciles_with(model, compare_model, column_name=none, compare_column=none, group_by_columns=[], tolerance=0) %}

{% set groups = [] %}
{% for column in group_by_columns %}
    {% do groups.append(dpe.quoted(column)) %}
{% endfor %}
{% set group_by = 'group by ' ~ groups | join(', ') if groups else '' %}

with

both_sides as (

    select
        {%- for column in groups %}
        {{ column }},
        {%- endfor %}
        {{ 'coalesce(sum(' ~ dpe.quoted(column_name) ~ '), 0)' if column_name else 'count(*)' }}::numeric as measure,
        0::numeric as compared_measure
    from {{ model }}
    {{ group_by }}

    union all

    select
        {%- for column in groups %}
        {{ column }},
        {%- endfor %}
        0 as measure,
        {{ 'coalesce(sum(' ~ dpe.quoted(compare_column or column_name) ~ '), 0)' if column_name else 'count(*)' }}::numeric as compared_measure
    from {{ compare_model }}
    {{ group_by }}

)

select
    {%- for column in groups %}
    {{ column }},
    {%- endfor %}
    sum(measure) as measure,
    sum(compared_measure) as compared_measure
from both_sides
{{ group_by }}
having abs(sum(measure) - sum(compared_measure)) > {{ tolerance }}

{% endtest %}
