{#
    Fails each row whose state may not follow the one before it, of the same entity, in the order of `order_column`.
    `transitions` lists what may: [[new, paid], [paid, shipped]]; with none, a state may not change. The same state again
    may; a null is left out.
#}
{% test allowed_transitions(model, column_name, entity_column, order_column, transitions) %}

{% set state = quoted(column_name) %}

with

ordered as (

    select
        *,
        lag({{ state }}) over (partition by {{ quoted(entity_column) }} order by {{ quoted(order_column) }}) as state_before
    from {{ model }}
    where {{ state }} is not null

)

select *
from ordered
where
    {{ state }} <> state_before
    {%- if transitions %}
    and (state_before::text, {{ state }}::text) not in (
        {%- for before, after in transitions %}
        ('{{ dbt.escape_single_quotes(before | string) }}', '{{ dbt.escape_single_quotes(after | string) }}'){{ ',' if not loop.last }}
        {%- endfor %}
    )
    {%- endif %}

{% endtest %}
