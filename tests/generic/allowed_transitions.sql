{#
    Fails each row whose state may not follow the one before it, of the same entity, in the order of `order_column`.
    `transitions` lists what may: [[new, paid], [paid, shipped]]. The same state again may; a null is left out.
#}
{% test allowed_transitions(model, column_name, entity_column, order_column, transitions) %}

{% set state = adapter.quote(column_name) %}

with

ordered as (

    select
        *,
        lag({{ state }}) over (partition by {{ adapter.quote(entity_column) }} order by {{ adapter.quote(order_column) }}) as state_before
    from {{ model }}
    where {{ state }} is not null

)

select *
from ordered
where
    {{ state }} <> state_before
    and (state_before::text, {{ state }}::text) not in (
        {%- for before, after in transitions %}
        ('{{ dbt.escape_single_quotes(before | string) }}', '{{ dbt.escape_single_quotes(after | string) }}'){{ ',' if not loop.last }}
        {%- endfor %}
    )

{% endtest %}
