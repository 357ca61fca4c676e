{#
    Fails with one row if the relation has fewer rows than `min_value` or more than `max_value`, either optional.
#}
{% test row_count_between(model, min_value=none, max_value=none) %}

select count(*) as row_count
from {{ model }}
having
    false
    {%- if min_value is not none %}
    or count(*) < {{ min_value }}
    {%- endif %}
    {%- if max_value is not none %}
    or count(*) > {{ max_value }}
    {%- endif %}

{% endtest %}
