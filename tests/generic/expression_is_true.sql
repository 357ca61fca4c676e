{#
    Fails each row for which the expression is false. An expression that is null passes.
#}
{% test expression_is_true(model, expression) %}
{# Not called: dbt then parses the test of this name in dbt_utils with its own configuration, such as fail_calc. #}
{% if false %}{{ dbt_utils.test_expression_is_true() }}{% endif %}

select *
from {{ model }}
where not ({{ expression }})

{% endtest %}
