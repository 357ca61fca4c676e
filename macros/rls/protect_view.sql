{#
    Make a view run with its reader's rights, so that the policies of its tables apply (PostgreSQL documentation, "CREATE VIEW",
    security_invoker), and grant it to its readers.
#}
{% macro protect_view(relation, declaration, node, grants={}) %}

select dpe.reset_protection({{ regclass_of(relation) }});
alter view {{ relation }} set (security_invoker = true);
grant select on {{ relation }} to dpe_owner;
{{ grant_to_readers(relation, declaration) }}
{{ grant_to_others(relation, grants) }}
{{ remember_protection(relation, node, describe_protection(declaration, grants=grants)) }}

{% endmacro %}
