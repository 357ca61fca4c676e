{#
    Fails each combination of values that more than one row has. Nulls count as equal.
#}
{% test unique_combination_of_columns(model, combination_of_columns) %}

{% set columns = [] %}
{% for column in combination_of_columns %}
    {% do columns.append(dpe.quoted(column)) %}
{% endfor %}

select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1

{% endtest %}
