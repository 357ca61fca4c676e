{#
    Select whole rows instead of dbt's column: a stored failing row has to be identifiable.
#}
{% macro postgres__test_relationships(model, column_name, to, field) %}

select child.*
from (select * from {{ model }}) as child
left join {{ to }} as parent on child.{{ column_name }} = parent.{{ field }}
where child.{{ column_name }} is not null and parent.{{ field }} is null

{% endmacro %}
