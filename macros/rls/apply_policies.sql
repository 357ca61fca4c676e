{#
    The statements that protect the relation that is being built as its `meta.rls` declares, mask its masked columns (mask_table), and
    grant it to the roles in its `grants`. A model that has to declare who may see it, but does not, is refused.
#}
{% macro apply_policies(relation, grants) %}

{% set declaration = dpe.rls_declaration() %}
{% for column in dpe.policy_columns(declaration) %}
    {% do dpe.check_policy_column(column) %}
{% endfor %}
{% set readers = dpe.readers_of(model, declaration) %}
{% set masked = dpe.masked_columns(model) %}
{% do dpe.check_grants(grants, masked) %}
{% if relation.is_view %}
    {% if masked and config.get('materialized') == 'view' %}
        {% do dpe.check_masked_columns(masked, declaration) %}
    {% endif %}
    {{ dpe.protect_view(relation, declaration, model.unique_id, readers, grants) }}
{% else %}
    {% if masked %}
        {% do dpe.check_masked_columns(masked, declaration) %}
    {% endif %}
    {% if dpe.is_protected(relation, declaration, readers, masked, grants) %}
        {{ dpe.require_context() }}
        {% for column in dpe.tenant_columns(declaration) %}
        {{ dpe.refuse_empty_tenant(relation, column) }}
        {% endfor %}
        {# A column may have been added since. #}
        {{ dpe.grant_to_readers(relation, readers, masked) if masked }}
        {{ dpe.remember_protection(relation, model.unique_id, dpe.describe_protection(declaration, readers, masked, grants)) }}
    {% else %}
        {{ dpe.protect_table(relation, declaration, model.unique_id, readers, masked=masked, grants=grants) }}
    {% endif %}
    {{ dpe.mask_table(relation, masked, readers) }}
{% endif %}

{% endmacro %}
