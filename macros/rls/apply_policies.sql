{#
    Protect the relation that is being built, as its `meta.rls` declares. A post-hook of every model, seed and snapshot:
    dbt runs it before it commits what it built, so that no session ever sees the relation without its policies. What
    dbt commits before its post-hooks is protected where it is created: postgres__create_table_as.

    What it masks is masked (mask_table). A model in marts that declares nothing, and a materialized view, are refused.
#}
{% macro apply_policies() %}

{% if execute %}
    {% set declaration = rls_declaration() %}
    {% for column in policy_columns(declaration) %}
        {% do check_policy_column(column) %}
    {% endfor %}
    {% set masked = masked_columns(model) %}
    {% if masked %}
        {% do check_masked_columns(masked, declaration) %}
    {% endif %}
    {% if config.get('materialized') == 'view' %}
        {{ protect_view(this, declaration) }}
    {% elif config.get('materialized') == 'materialized_view' %}
        {{ exceptions.raise_compiler_error(
            model.name ~ ": a materialized view cannot be protected by policies; make it a table or an incremental model"
        ) }}
    {% else %}
        {% if is_protected(this, declaration, masked) %}
            {{ require_context() }}
            {# A column that was added since. #}
            {{ grant_to_readers(this, declaration, masked) if masked }}
        {% else %}
            {{ protect_table(this, declaration, masked=masked) }}
        {% endif %}
        {{ mask_table(masked) }}
    {% endif %}
{% endif %}

{% endmacro %}
