{#
    PostgreSQL's form: functions of the session are called in sub-selects, so that they run once per query, not once per row
    (PostgreSQL documentation, "Row Security Policies"; EXPLAIN shows an InitPlan).

    A mask checks whether the session reads masked, and for which rows, in one sub-select: between two, a session could change its role.
    For the same reason, the policy of readers and the mask each ask in it whether the relation is published to the role whose rows it may
    see: PostgreSQL checks the privilege on the relation when a cursor is declared, and that of a view's owner when the view is read, but
    calls these functions as the role that reads. It computes the sub-selects of a cursor when it first needs them, each possibly as
    another role: what one of them shows must be what a single role may see.
#}
{% macro postgres__rls_predicate(declaration, audience, readers) %}

{% set masked = "pg_has_role('dpe_masked_reader', 'usage')" %}
{% set is_asked = audience != 'system' and dpe.is_published_to_some(readers) %}
{% set before, after = '(select ', ')' %}
{% if audience == 'mask' %}
    {% set before, after = '(select case when ' ~ masked ~ ' then null else ', ' end)' %}
{% endif %}
{% if is_asked %}
    {% set denied = 'when ' ~ masked ~ ' then null ' if audience == 'mask' else '' %}
    {% set before, after = '(select case ' ~ denied ~ 'when ' ~ dpe.reads_as_one_of(readers) ~ ' then ', ' end)' %}
{% endif %}
{% set tenants = before ~ 'dpe.visible_tenants()' ~ after %}
{% set rows = [] %}
{% for column in dpe.tenant_columns(declaration) %}
    {% do rows.append(dpe.quote_name(column) ~ ' = any (' ~ tenants ~ '::text[])') %}
{% endfor %}
{% if rows and audience == 'system' %}
    {{ return('(select dpe.every_tenant_is_open()) or ' ~ rows | join(' or ')) }}
{% elif rows %}
    {{ return(rows | join(' or ')) }}
{% elif audience == 'system' %}
    {{ return('(select dpe.context_is_open())') }}
{% elif declaration.role_column %}
    {{ return(dpe.quote_name(declaration.role_column) ~ ' = ' ~ before ~ 'current_user' ~ after) }}
{% elif declaration.access %}
    {% set access = declaration.access %}
    {% set arguments = [dpe.access_relation(access), access.key or access.column, access.role_column] %}
    {% set keys = "dpe.granted_keys('" ~ arguments | map('replace', "'", "''") | join("', '") ~ "')" %}
    {{ return(dpe.quote_name(access.column) ~ ' = any (' ~ before ~ keys ~ after ~ '::text[])') }}
{% elif declaration.shared and is_asked %}
    {{ return(before ~ 'true' ~ after) }}
{% elif audience == 'mask' %}
    {{ return('not (select ' ~ masked ~ ')') }}
{% endif %}
{{ return('true' if declaration.shared else 'false') }}

{% endmacro %}
