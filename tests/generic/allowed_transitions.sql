{#
    Fails each row whose state may not follow the previous state of the same entity, in the order of `order_column`.
    `transitions` lists the allowed ones: [[new, paid], [paid, shipped]], or by previous state, {new: [paid], paid: [shipped]};
    if it is empty, a state may not change. A state may repeat; rows with a null state or entity are ignored.
#}
{% test allowed_transitions(model, column_name, entity_column, order_column, transitions) %}

{% set state = dpe.quoted(column_name) %}
{% set pairs = [] %}
{% for one in transitions %}
    {% if transitions is mapping %}
        {% for after in ([transitions[one]] if transitions[one] is string else transitions[one]) %}
            {% do pairs.append([one, after]) %}
        {% endfor %}
    {% else %}
        {% do pairs.append(one) %}
    {% endif %}
{% endfor %}
{% if pairs | reject('sequence') | list or pairs | rejectattr('1', 'defined') | list %}
    {{ exceptions.raise_compiler_error("allowed_transitions: transitions is " ~ transitions ~ "; write pairs, such as [[new, paid], [paid, shipped]]") }}
{% endif %}

with

ordered as (

    select
        *,
        lag({{ state }}) over (partition by {{ dpe.quoted(entity_column) }} order by {{ dpe.quoted(order_column) }}) as state_before
    from {{ model }}
    where {{ state }} is not null and {{ dpe.quoted(entity_column) }} is not null

)

select *
from ordered
where
    {{ state }} <> state_before
    {%- if pairs %}
    and (state_before::text, {{ state }}::text) not in (
        {%- for before, after in pairs %}
        ({{ dpe.literal_of(before) }}, {{ dpe.literal_of(after) }}){{ ',' if not loop.last }}
        {%- endfor %}
    )
    {%- endif %}

{% endtest %}
