{#
    Make a view read with its reader's rights, so that the policies of the tables below it decide (PostgreSQL
    documentation, "CREATE VIEW", security_invoker), and grant it to who may see it.
#}
{% macro protect_view(relation, declaration) %}

alter view {{ relation }} set (security_invoker = true);
grant select on {{ relation }} to dpe_owner;
{{ grant_to_readers(relation, declaration) }}

{% endmacro %}
