{#
    Select whole rows instead of dbt's column: a stored failing row has to be identifiable. A test of the project's own takes precedence.
#}
{% macro postgres__test_relationships(model, column_name, to, field) %}

{% set next = dpe.next_implementation('test_relationships') %}
{% if next and next.macro.package_name == project_name %}
    {{ return(next(model, column_name, to, field)) }}
{% endif %}

select child.*
from (select * from {{ model }}) as child
left join {{ to }} as parent on child.{{ column_name }} = parent.{{ field }}
where child.{{ column_name }} is not null and parent.{{ field }} is null

{% endmacro %}
