{#
    Fails each row that meets `from_condition` and whose value is not in `field` of the rows of `to` that meet `to_condition`.
    A null passes.
#}
{% test relationships_where(model, column_name, to, field, from_condition='true', to_condition='true') %}

with

parents as (

    select {{ dpe.quoted(field) }} as parent_key
    from {{ to }}
    where {{ to_condition }}

)

select *
from (select * from {{ model }}) as child
where
    ({{ from_condition }})
    and child.{{ dpe.quoted(column_name) }} is not null
    and not exists (
        select
        from parents
        where parents.parent_key = child.{{ dpe.quoted(column_name) }}
    )

{% endtest %}
