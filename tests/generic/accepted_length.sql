{#
    Fails each row whose text has fewer characters than `min_value` or more than `max_value`, either optional. A null passes.
#}
{% test accepted_length(model, column_name, min_value=none, max_value=none) %}

select *
from {{ model }}
where
    false
    {%- if min_value is not none %}
    or char_length({{ dpe.quoted(column_name) }}) < {{ min_value }}
    {%- endif %}
    {%- if max_value is not none %}
    or char_length({{ dpe.quoted(column_name) }}) > {{ max_value }}
    {%- endif %}

{% endtest %}
