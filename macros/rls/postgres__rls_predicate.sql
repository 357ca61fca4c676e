{#
    PostgreSQL's form: what asks for the session is in sub-selects, so that it is asked once a query, not once a row
    (PostgreSQL documentation, "Row Security Policies"; EXPLAIN shows an InitPlan).
#}
{% macro postgres__rls_predicate(declaration, audience) %}

{% if audience == 'mask' %}
    {{ return("not (select pg_has_role('dpe_masked_reader', 'usage'))") }}
{% endif %}
{% set rows = [] %}
{% for column in tenant_columns(declaration) %}
    {% do rows.append(adapter.quote(column) ~ ' = any ((select dpe.visible_tenants())::text[])') %}
{% endfor %}
{% if rows and audience == 'system' %}
    {{ return('(select dpe.every_tenant_is_open()) or ' ~ rows | join(' or ')) }}
{% elif rows %}
    {{ return(rows | join(' or ')) }}
{% elif audience == 'system' %}
    {{ return('(select dpe.context_is_open())') }}
{% elif declaration.role_column %}
    {{ return(adapter.quote(declaration.role_column) ~ ' = (select current_user)') }}
{% elif declaration.access %}
    {% set access = declaration.access %}
    {% set arguments = [access_relation(access), access.key or access.column, access.role_column] %}
    {{ return(
        adapter.quote(access.column) ~ " = any ((select dpe.granted_keys('" ~ arguments | map('replace', "'", "''") | join("', '") ~ "'))::text[])"
    ) }}
{% endif %}
{{ return('true' if declaration.shared else 'false') }}

{% endmacro %}
