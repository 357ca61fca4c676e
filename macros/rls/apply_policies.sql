{#
    The statements that protect the relation that is being built as its `meta.rls` declares, mask its masked columns (mask_table), and
    grant it to the roles in its `grants`. A model that has to declare who may see it, but does not, is refused.
#}
{% macro apply_policies(relation, grants) %}

{% set declaration = rls_declaration() %}
{% for column in policy_columns(declaration) %}
    {% do check_policy_column(column) %}
{% endfor %}
{% set masked = masked_columns(model) %}
{% do check_grants(grants, masked) %}
{% if relation.is_view %}
    {% if masked and config.get('materialized') == 'view' %}
        {% do check_masked_columns(masked, declaration) %}
    {% endif %}
    {{ protect_view(relation, declaration, model.unique_id, grants=grants) }}
{% else %}
    {% if masked %}
        {% do check_masked_columns(masked, declaration) %}
    {% endif %}
    {% if is_protected(relation, declaration, masked, grants) %}
        {{ require_context() }}
        {% for column in tenant_columns(declaration) %}
        {{ refuse_empty_tenant(relation, column) }}
        {% endfor %}
        {# A column may have been added since. #}
        {{ grant_to_readers(relation, declaration, masked) if masked }}
        {{ remember_protection(relation, model.unique_id, describe_protection(declaration, masked, grants)) }}
    {% else %}
        {{ protect_table(relation, declaration, model.unique_id, masked=masked, grants=grants) }}
    {% endif %}
    {{ mask_table(relation, masked) }}
{% endif %}

{% endmacro %}
