{#
    Fails each row whose range (the upper bound is excluded) is not valid, or conflicts with the next one of its partition:
    `gaps: allowed` (no overlap), `not_allowed` (the next begins where this ends) or `required` (the next begins later). The
    lower bound has to be below the upper one, or with `zero_length_range_allowed` not above it. A null bound fails.
#}
{% test mutually_exclusive_ranges(model, lower_bound_column, upper_bound_column, partition_by=none, gaps='allowed', zero_length_range_allowed=false) %}

{% set operators = {'allowed': '<=', 'not_allowed': '=', 'required': '<'} %}
{% if gaps not in operators %}
    {{ exceptions.raise_compiler_error("mutually_exclusive_ranges: gaps is " ~ gaps ~ "; write one of " ~ operators | join(', ')) }}
{% endif %}

with

ranges as (

    select
        *,
        lead({{ lower_bound_column }}) over (
            {{ 'partition by ' ~ partition_by if partition_by }}
            order by {{ lower_bound_column }}, {{ upper_bound_column }}
        ) as next_lower_bound
    from {{ model }}

)

select *
from ranges
where
    ({{ lower_bound_column }} {{ '<=' if zero_length_range_allowed else '<' }} {{ upper_bound_column }}) is not true
    or {{ upper_bound_column }} {{ operators[gaps] }} next_lower_bound is false

{% endtest %}
