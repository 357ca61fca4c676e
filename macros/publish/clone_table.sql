{#
    The statements that copy a table with its rows, columns, constraints, indexes and comments, under the same policies,
    in their own transaction: dbt does not commit after an on-run-start hook.
#}
{% macro clone_table(source, target, declaration, masked, node) %}

begin;
create table {{ target }} (like {{ source }} including all);
{{ protect_table(target, declaration, node, masked=masked) }}
insert into {{ target }} select * from {{ source }};
commit;

{% endmacro %}
