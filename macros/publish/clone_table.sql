{#
    The statements that copy a table with its rows and properties (dpe_cli/server/sql/copies.sql), and protect the copy as declared, in
    their own transaction: dbt does not commit after an on-run-start hook.
#}
{% macro clone_table(source, target, declaration, readers, masked, node) %}

begin;
select dpe.copy_table({{ dpe.regclass_of(source) }}, {{ dpe.literal_of(target.schema) }});
{{ dpe.protect_table(target, declaration, node, readers, masked=masked) }}
commit;

{% endmacro %}
