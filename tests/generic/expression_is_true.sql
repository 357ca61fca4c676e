{#
    Fails each row for which the expression is false. An expression that is null passes.
#}
{% test expression_is_true(model, expression) %}

select *
from {{ model }}
where not ({{ expression }})

{% endtest %}
