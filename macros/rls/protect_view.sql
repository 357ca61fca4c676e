{#
    Make a view run with its reader's rights, so that the policies of its tables apply (PostgreSQL documentation, "CREATE VIEW",
    security_invoker), and grant it to its readers.
#}
{% macro protect_view(relation, declaration, node, readers=[], grants={}) %}

select dpe.reset_protection({{ dpe.regclass_of(relation) }});
alter view {{ relation }} set (security_invoker = true);
grant select on {{ relation }} to dpe_owner;
{{ dpe.grant_to_readers(relation, readers) }}
{{ dpe.grant_to_others(relation, grants) }}
{{ dpe.remember_protection(relation, node, dpe.describe_protection(declaration, readers, grants=grants)) }}

{% endmacro %}
